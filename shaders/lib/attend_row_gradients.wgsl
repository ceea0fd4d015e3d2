// P = exp(scale scores - log_sum) and dS = scale P (dP - c) of a tile's rows and BLOCK tokens, of products that stand in `blocks`, for
// the gradients of attention on cooperative matrices; into two maps in workgroup memory.
// dS is kept in f16 times a power of two, chosen by the largest of BLOCK rows, so that it neither overflows nor gets subnormal;
// P times 2^8, for it is at most 1.
// needs attend_products
// constants ASKING=0 ALIKE=0 WHOLE=1
const P_SCALE: f32 = 256.0;
// Whether the tiles of both sides are there at once, and where in `blocks` b's products begin.
const TOGETHER: bool = ALIKE == 1u || TILES == 2u;
const B_BLOCKS: u32 = select(0u, ROW_BLOCKS * DEPTH_PARTS, TOGETHER);
const_assert B_BLOCKS + ROW_BLOCKS * DEPTH_PARTS <= BLOCKS;
const MAP_LINE: u32 = BLOCK_LINE + 2u;
// A subgroup makes the maps of whole blocks of rows: MAP_TURNS of them, a lane ITEMS numbers of each, four tokens a number.
const ITEMS: u32 = BLOCK_SIZE / SUBGROUP;
const MAP_TURNS: u32 = (ROW_BLOCKS + SUBGROUPS - 1u) / SUBGROUPS;
const ALL_ITEMS: u32 = MAP_TURNS * ITEMS;

var<workgroup> p_map: array<elem4, ROWS * MAP_LINE>; // [row, token]
var<workgroup> ds_map: array<elem4, ROWS * MAP_LINE>;
var<workgroup> from_f16: array<f32, (ROW_BLOCKS + 3u) / 4u * 4u>; // what a block of dS is to be multiplied by

alias Items = array<vec4<f32>, ALL_ITEMS>;

// Which row of the tile, and which number of its block of rows, a lane's number is.
fn map_row(i: u32, subgroup: u32, lane: u32) -> u32 {
    return (subgroup + i / ITEMS * SUBGROUPS) * BLOCK + map_item(i, lane) / BLOCK_LINE;
}
fn map_item(i: u32, lane: u32) -> u32 {
    return i % ITEMS * SUBGROUP + lane % SUBGROUP;
}

// P and dS of the tile's rows: `dps` gives dP unless `blocks` do; `log_sums` and `cs` are of rows or of tokens.
fn make_maps(dps: ptr<function, Items>, log_sums: ptr<function, Items>, cs: ptr<function, Items>, exists: vec4<bool>, rows: u32, lane: u32) {
    let subgroup = lane / SUBGROUP;
    for (var turn = 0u; turn < MAP_TURNS; turn++) { // unroll
        let r = subgroup + turn * SUBGROUPS;
        if r < ROW_BLOCKS {
            var p: array<vec4<f32>, ITEMS>;
            var ds: array<vec4<f32>, ITEMS>;
            var most = 0.0; // |dS|
            for (var i = 0u; i < ITEMS; i++) { // unroll
                let row = map_row(turn * ITEMS + i, subgroup, lane);
                var dp = (*dps)[turn * ITEMS + i];
                if TOGETHER {
                    dp = products_of(row, lane % BLOCK_LINE, B_BLOCKS);
                }
                let score = params.scale * products_of(row, lane % BLOCK_LINE, 0u);
                p[i] = select(vec4<f32>(), exp(score - (*log_sums)[turn * ITEMS + i]), exists & vec4(row < rows));
                var c = (*cs)[turn * ITEMS + i];
                if ASKING * WHOLE == 1u {
                    // Of four lanes, side by side. P made again sums to 1 but for what exp errs by, which is the same for all.
                    var sums = vec2(dot(p[i], dp), dot(p[i], vec4(1.0)));
                    sums += subgroupShuffleXor(sums, 1u);
                    sums += subgroupShuffleXor(sums, 2u);
                    c = vec4(sums.x / select(1.0, sums.y, sums.y > 0.0));
                }
                ds[i] = params.scale * p[i] * (dp - c);
                most = max(most, largest_of(abs(ds[i])));
            }
            // The largest comes to 256 to 512; 0, and what is beyond all bounds, is left as it is.
            let exponent = i32(bitcast<u32>(subgroupMax(most)) >> 23u) - 127;
            let to_f16 = exp2(f32(8 - clamp(exponent, -100, 100)));
            if lane % SUBGROUP == 0u {
                from_f16[r] = 1.0 / to_f16;
            }
            for (var i = 0u; i < ITEMS; i++) { // unroll
                let at = map_row(turn * ITEMS + i, subgroup, lane) * MAP_LINE + lane % BLOCK_LINE;
                p_map[at] = elem4(P_SCALE * p[i]);
                ds_map[at] = elem4(to_f16 * ds[i]);
            }
        }
    }
}
