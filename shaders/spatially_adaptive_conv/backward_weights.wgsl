// dturned = dyᵀ · (attention ⊙ seen), dattention_weight = patchesᵀ · dz, dattention_bias = sum of dz, over a slice of the pixels each: partial, which
// `add_slices` adds up. dz = df(z) ⊙ seen ⊙ back, z = patches · attention_weight + attention_bias.
// One workgroup a tile of columns (tap, channel) x TURNED_HELD tiles of dturned's rows, which are output channels, and PATCHES_HELD of
// dattention_weight's, which are numbers of a patch, and one number more, which is 1: its sums are the bias's. z and back of a
// tile of pixels are products of their own; lanes make right factors of them.
// needs elem_f32 | elem_f16
// needs alone
// needs untallied
// needs adaptive_seen
// needs adaptive_back
// constants TURNED_HELD=1 PATCHES_HELD=2

struct Params { batch: u32, slice_pixels: u32 } // slice_pixels: a multiple of TILE_M
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> raw: array<raw_pack>;
@group(0) @binding(3) var<storage, read> attention_weight: array<factor>;
@group(0) @binding(4) var<storage, read> attention_bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> turned: array<factor>; // [OUT, COLUMNS]
@group(0) @binding(6) var<storage, read> dy: array<factor>;
@group(0) @binding(7) var<storage, read_write> partial: array<sum_pack>; // [slices, OUT + DEPTH + 1, COLUMNS]

// The products of dy and of patches, both transposed.
const TURNED: u32 = 2u;
const PATCHES: u32 = 3u;

// Where rows of patches begin among those of tiles: behind whole tiles of output channels.
const TURNED_TILES: u32 = (OUT + TILE_M - 1u) / TILE_M;
const TURNED_ROWS: u32 = TURNED_TILES * TILE_M;

struct OuterA { pixel: Pixel, slice: u32 }
struct OuterB { col: u32, slice: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(TURNED_ROWS + DEPTH + 1u, COLUMNS);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, select(OUT, DEPTH, slice == ATTENTION));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(pixel_of(row), slice);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return patch_strip(outer.pixel, k);
    }
    return dy_strip(outer.pixel, k);
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return attention_strip(outer.col, COLUMNS, k);
    }
    return turned_strip(outer.col, COLUMNS, k);
}

// Four output channels of pixel k, or four numbers of its patch.
fn load_across(row: u32, k: u32, slice: u32) -> strip {
    let pixel = pixel_of(k);
    if slice == TURNED {
        return dy_strip(pixel, row);
    }
    let number = row - TURNED_ROWS;
    let numbers = vec4(number) + vec4(0u, 1u, 2u, 3u);
    return select(patch_strip(pixel, number), elem4(elem(1)), numbers == vec4(DEPTH));
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let number = select(row, row - TURNED_ROWS + OUT, row >= TURNED_ROWS);
    let is_one = (row < OUT) | ((row >= TURNED_ROWS) & (number <= OUT + DEPTH));
    for (var i = 0u; i < PACKS; i++) { // unroll
        if is_one & (outer.col + i * PACK < COLUMNS) {
            partial[((slice * (OUT + DEPTH + 1u) + number) * COLUMNS + outer.col) / PACK + i] = sum_pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let turned0 = group.y * TURNED_HELD * TILE_M;
    let patches0 = TURNED_ROWS + group.y * PATCHES_HELD * TILE_M;
    let col0 = group.x * TILE_N;
    let begin = group.z * params.slice_pixels;
    let end = min(begin + params.slice_pixels, pixels());
    var sums: array<Sums, TURNED_HELD + PATCHES_HELD>;
    for (var first = begin; first < end; first += TILE_M) {
        var seen: Seen;
        var shares: Shares;
        var ahead: Across;
        // Known where one turn will do; else only at run time, so that no driver writes out all turns (minutes for NVIDIA's).
        let deep = select(min(TILE_M, end - first), TILE_M, TILE_K >= TILE_M);
        attend_seen(&shares, &seen, lane, first, col0); // inline
        if TURNED_HELD > 0u {
            load_tile_across(&ahead, lane, turned0, first, TURNED); // inline
            var weighed: Shares;
            for (var i = 0u; i < SHARES; i++) { // unroll
                weighed[i] = f(shares[i]) * vec4<f32>(seen[i]);
            }
            for (var k0 = 0u; k0 < deep; k0 += TILE_K) {
                keep_right(&weighed, lane, k0); // inline
                for (var tile = 0u; tile < TURNED_HELD; tile++) { // unroll
                    let next = (tile + 1u) % TURNED_HELD;
                    let next_k = first + k0 + select(0u, TILE_K, next == 0u);
                    right_product(&sums[tile], &ahead, lane, turned0 + next * TILE_M, next_k, TURNED); // inline
                }
            }
        }
        if PATCHES_HELD > 0u {
            var back: Sums;
            product(&back, lane, first, col0, BACK); // inline
            load_tile_across(&ahead, lane, patches0, first, PATCHES); // inline
            var slopes: Shares;
            share_out(&back, &slopes, lane); // inline
            for (var i = 0u; i < SHARES; i++) { // unroll
                shares[i] = df(shares[i]) * vec4<f32>(seen[i]) * slopes[i];
            }
            for (var k0 = 0u; k0 < deep; k0 += TILE_K) {
                keep_right(&shares, lane, k0); // inline
                for (var tile = 0u; tile < PATCHES_HELD; tile++) { // unroll
                    let next = (tile + 1u) % PATCHES_HELD;
                    let next_k = first + k0 + select(0u, TILE_K, next == 0u);
                    right_product(&sums[TURNED_HELD + tile], &ahead, lane, patches0 + next * TILE_M, next_k, PATCHES); // inline
                }
            }
        }
    }
    for (var tile = 0u; tile < TURNED_HELD; tile++) { // unroll
        spill(&sums[tile], lane, turned0 + tile * TILE_M, col0, group.z); // inline
    }
    for (var tile = 0u; tile < PATCHES_HELD; tile++) { // unroll
        spill(&sums[TURNED_HELD + tile], lane, patches0 + tile * TILE_M, col0, group.z); // inline
    }
}
