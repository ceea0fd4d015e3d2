// da = dS t and dt = dS^T a, db = P u or du = P^T b: the gradients of attention between few tokens and many rows (pixels) on
// cooperative matrices, in one pass over the rows.
// ASKING = 1: rows are queries, tokens are keys; a row's gradient is dq. ASKING = 0: rows are keys, tokens are queries.
//
//   P = exp(scale a t^T - log_sum), dP = b u^T, dS = scale P (dP - c)      a, b of rows, t, u of tokens
//   rows:    da = dS t, db = P u               (b is a: da takes both)     queries: a = q, b = dy; keys: a = k, b = v
//   tokens:  dt = dS^T a, du = P^T b           in parts of `split` rows    queries: t = k, u = v;  keys: t = q, u = dy
//
// c = rowsum(P dP) of a query: where rows ask, in sight; where tokens ask, rowsum(dy y), found before.
// One workgroup `split` rows (x) of a head (y) and image (z), ROWS at a time. dS is kept in f16 times a power of two, chosen by
// the largest number so far, so that it neither overflows nor gets subnormal; P times 2^8, for it is at most 1.
// LOCAL = 1: tokens stand in workgroup memory; 0: they are too wide for that, and are read where `tokens` left them.
// needs attend_rows
// needs attend_place
// constants ASKING=0 ALIKE=0 LOCAL=1

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, split: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<strip>; // [batch, rows, heads, DEPTH]
@group(0) @binding(2) var<storage, read> b: array<strip>; // [batch, rows, heads, WIDTH]
@group(0) @binding(3) var<storage, read> t: array<elem4>; // LOCAL: [batch, tokens, heads, DEPTH]; else what `tokens` left
@group(0) @binding(4) var<storage, read> u: array<elem4>; // LOCAL: [batch, tokens, heads, WIDTH]; else t again
@group(0) @binding(5) var<storage, read> asked: array<f32>; // of queries: log_sum [batch, heads, queries], or of tokens that ask
// [batch, queries, heads, 2], with rowsum(dy y)
@group(0) @binding(6) var<storage, read_write> da: array<elem4>; // as a
@group(0) @binding(7) var<storage, read_write> db: array<elem4>; // as b, where it is not a and no query's
@group(0) @binding(8) var<storage, read_write> parts: array<vec4<f32>>; // dt [splits, batch, tokens, heads, DEPTH], then du if ASKING

const DEPTH_COLUMNS: u32 = DEPTH / SUBGROUPS / FRAGMENT;
const P_SCALE: f32 = 256.0;
// Blocks of db side by side in a subgroup, and of du.
const DB_COLUMNS: u32 = COLUMN_BLOCKS * (1u - ALIKE) * (1u - ASKING);
const DU_COLUMNS: u32 = COLUMN_BLOCKS * ASKING;
const MAP_LINE: u32 = BLOCK_LINE + 2u;
// A lane's rows of the maps, four tokens each.
const ITEMS: u32 = ROWS * BLOCK_LINE;
const TURNS: u32 = (ITEMS + WORKGROUP - 1u) / WORKGROUP;

var<workgroup> p_map: array<elem4, ROWS * MAP_LINE>; // [row, token]
var<workgroup> ds_map: array<elem4, ROWS * MAP_LINE>;
var<workgroup> largest: array<vec4<f32>, (SUBGROUPS + 3u) / 4u>; // |dS| so far, by subgroup

// A line of tokens in workgroup memory, padded as rows are.
const TOKEN_LINE: u32 = max(DEPTH, WIDTH) / 4u + 2u;
var<workgroup> local_tokens: array<elem4, max(LOCAL * 2u * BLOCK * TOKEN_LINE, 2u)>; // t, u

alias OfA = array<strip, DEPTH_LOADS>;
alias OfB = array<strip, WIDTH_LOADS>;
alias DepthSums = array<FragmentSum, FRAGMENTS * DEPTH_COLUMNS>;
alias WidthSums = array<FragmentSum, FRAGMENTS * COLUMNS>;

fn row_place(row: u32) -> u32 {
    return select(key_row(row), query_row(row), ASKING == 1u);
}
// Zeros from `end` on.
fn a_strip(first: u32, end: u32, at: u32) -> strip {
    let row = first + at / DEPTH_STRIPS;
    return select(strip(), a[row_place(min(row, end - 1u)) * DEPTH_STRIPS + at % DEPTH_STRIPS], row < end);
}
fn b_strip(first: u32, end: u32, at: u32) -> strip {
    let row = first + at / WIDTH_STRIPS;
    return select(strip(), b[row_place(min(row, end - 1u)) * WIDTH_STRIPS + at % WIDTH_STRIPS], row < end);
}

const T: u32 = 0u;
const U: u32 = 1u;
fn channels_of(side: u32) -> u32 {
    return select(DEPTH, WIDTH, side == U);
}
// Where a side begins in what `tokens` left: u behind t.
fn first_of(side: u32) -> u32 {
    return side * 2u * params.batch * params.heads * BLOCK * DEPTH;
}

// Fragments of tokens as right factors: channels are summed over, or tokens.
fn along_channels(side: u32, pair: u32, token: u32, channel: u32) -> FragmentB {
    if LOCAL == 1u {
        return coopLoad<FragmentB>(&local_tokens[(side * BLOCK + token) * TOKEN_LINE + channel / 4u], TOKEN_LINE);
    }
    let channels = channels_of(side);
    return coopLoad<FragmentB>(&t[(first_of(side) + (pair * BLOCK + token) * channels + channel) / 4u], channels / 4u);
}
fn along_tokens(side: u32, pair: u32, token: u32, channel: u32) -> FragmentB {
    if LOCAL == 1u {
        return coopLoadT<FragmentB>(&local_tokens[(side * BLOCK + token) * TOKEN_LINE + channel / 4u], TOKEN_LINE);
    }
    // Transposed they stand behind all of the side that are not.
    let before = first_of(side) + (params.batch * params.heads + pair) * BLOCK * channels_of(side);
    return coopLoad<FragmentB>(&t[(before + channel * BLOCK + token) / 4u], BLOCK_LINE);
}

// Where a fragment of a block [.., BLOCK, BLOCK] begins.
fn place_in_block(i: u32) -> u32 {
    return i / FRAGMENTS * FRAGMENT * BLOCK_LINE + i % FRAGMENTS * (FRAGMENT / 4u);
}

// The tile's rows times tokens of one side, into `blocks`.
fn add_products(side: u32, subgroup: u32, pair: u32) {
    let channels = channels_of(side) / DEPTH_PARTS;
    let first_channel = subgroup % DEPTH_PARTS * channels;
    for (var i = 0u; i < SHARE; i++) { // unroll
        let row = (subgroup + i * SUBGROUPS) / DEPTH_PARTS * BLOCK;
        var sums: array<FragmentSum, FRAGMENTS * FRAGMENTS>;
        for (var channel = first_channel; channel < first_channel + channels; channel += FRAGMENT) {
            for (var x = 0u; x < FRAGMENTS; x++) { // unroll
                let token = along_channels(side, pair, x * FRAGMENT, channel);
                for (var r = 0u; r < FRAGMENTS; r++) { // unroll
                    let rows = coopLoadT<FragmentA>(&rows_tile[(row + r * FRAGMENT) * ROW_STRIPS + channel / STRIP].lo, ROW_LINE);
                    sums[r * FRAGMENTS + x] = coopMultiplyAdd(rows, token, sums[r * FRAGMENTS + x]);
                }
            }
        }
        for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
            // naga 30 panics on arguments of coopStoreT that are no plain names.
            let part = sums[s];
            let at = (subgroup + i * SUBGROUPS) * BLOCK_SIZE + place_in_block(s);
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
    }
}

// Four neighboring numbers of one of these products, [row, token].
fn of_item(item: u32) -> vec4<f32> {
    let row = item / BLOCK_LINE;
    var sum = vec4<f32>();
    for (var part = 0u; part < DEPTH_PARTS; part++) { // unroll
        sum += blocks[(row / BLOCK * DEPTH_PARTS + part) * BLOCK_SIZE + row % BLOCK * BLOCK_LINE + item % BLOCK_LINE];
    }
    return sum;
}
fn item_of(turn: u32, lane: u32) -> u32 {
    return (turn * WORKGROUP + lane) % ITEMS;
}

fn keep_a(strips: ptr<function, OfA>, lane: u32) {
    for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
        let at = lane + i * WORKGROUP;
        rows_tile[at / DEPTH_STRIPS * ROW_STRIPS + at % DEPTH_STRIPS] = kept((*strips)[i]);
    }
}
fn keep_b(strips: ptr<function, OfB>, lane: u32) {
    for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
        let at = lane + i * WORKGROUP;
        rows_tile[at / WIDTH_STRIPS * ROW_STRIPS + at % WIDTH_STRIPS] = kept((*strips)[i]);
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    head = group.y;
    image = group.z;
    let pair = image * params.heads + head;
    let rows = select(params.keys, params.queries, ASKING == 1u);
    let tokens = select(params.queries, params.keys, ASKING == 1u);
    let begin = group.x * params.split;
    let end = min(begin + params.split, rows);
    let subgroup = lane / SUBGROUP;
    let depth_column = subgroup * DEPTH_COLUMNS * FRAGMENT;
    let width_column = subgroup * COLUMNS * FRAGMENT;

    if LOCAL == 1u {
        for (var i = lane; i < BLOCK * TOKEN_LINE; i += WORKGROUP) {
            let token = i / TOKEN_LINE;
            let four = i % TOKEN_LINE;
            let row = (image * tokens + min(token, tokens - 1u)) * params.heads + head;
            let of_t = t[row * (DEPTH / 4u) + min(four, DEPTH / 4u - 1u)];
            let of_u = u[row * (WIDTH / 4u) + min(four, WIDTH / 4u - 1u)];
            local_tokens[i] = select(elem4(), of_t, token < tokens);
            local_tokens[BLOCK * TOKEN_LINE + i] = select(elem4(), of_u, token < tokens);
        }
    }

    var dt: DepthSums;
    var du: WidthSums;
    var most = 0.0; // |dS| so far
    var to_f16 = 1.0; // what dS is multiplied by
    var of_a: OfA;
    var of_b: OfB;
    if ALIKE == 1u {
        for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
            of_a[i] = a_strip(begin, end, lane + i * WORKGROUP);
        }
    } else {
        for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
            of_b[i] = b_strip(begin, end, lane + i * WORKGROUP);
        }
    }
    for (var first = begin; first < end; first += ROWS) {
        workgroupBarrier(); // every lane is done with the last rows
        if ALIKE == 1u {
            keep_a(&of_a, lane); // inline
            workgroupBarrier();
            for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
                of_a[i] = a_strip(first + ROWS, end, lane + i * WORKGROUP);
            }
        } else {
            keep_b(&of_b, lane); // inline
            workgroupBarrier();
            for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
                of_a[i] = a_strip(first, end, lane + i * WORKGROUP);
            }
        }
        add_products(U, subgroup, pair); // inline
        workgroupBarrier();
        var dps: array<vec4<f32>, TURNS>;
        for (var turn = 0u; turn < TURNS; turn++) { // unroll
            dps[turn] = of_item(item_of(turn, lane));
        }
        if ALIKE == 0u {
            keep_a(&of_a, lane); // inline
            // Where rows ask, b is needed once more for this tile.
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                of_b[i] = b_strip(first + (1u - ASKING) * ROWS, end, lane + i * WORKGROUP);
            }
        }
        workgroupBarrier(); // scores go where the gradients were
        add_products(T, subgroup, pair); // inline
        workgroupBarrier();

        var ps: array<vec4<f32>, TURNS>;
        var dss: array<vec4<f32>, TURNS>;
        for (var turn = 0u; turn < TURNS; turn++) { // unroll
            let item = item_of(turn, lane);
            let row = item / BLOCK_LINE;
            let dp = dps[turn];
            let token = 4u * (item % BLOCK_LINE);
            let exists = (vec4(token) + vec4(0u, 1u, 2u, 3u) < vec4(tokens)) & vec4(first + row < end);
            var log_sums = vec4<f32>();
            var c = vec4<f32>();
            if ASKING == 1u {
                log_sums = vec4(asked[statistic(min(first + row, rows - 1u))]);
            } else {
                for (var i = 0u; i < 4u; i++) { // unroll
                    let at = 2u * query_row(min(token + i, tokens - 1u));
                    log_sums[i] = asked[at];
                    c[i] = asked[at + 1u];
                }
            }
            let p = select(vec4<f32>(), exp(params.scale * of_item(item) - log_sums), exists);
            if ASKING == 1u {
                var sum = dot(p, dp); // of four lanes, side by side
                sum += subgroupShuffleXor(sum, 1u);
                sum += subgroupShuffleXor(sum, 2u);
                c = vec4(sum);
            }
            let ds = params.scale * p * (dp - c);
            ps[turn] = p;
            dss[turn] = ds;
            let size = abs(ds);
            most = max(most, max(max(size.x, size.y), max(size.z, size.w)));
        }
        largest[subgroup / 4u][subgroup % 4u] = subgroupMax(most);
        workgroupBarrier();
        for (var i = 0u; i < SUBGROUPS; i++) { // unroll
            most = max(most, largest[i / 4u][i % 4u]);
        }
        // The largest comes to 256 to 512; 0, and what is beyond all bounds, is left as it is.
        let exponent = i32(bitcast<u32>(most) >> 23u) - 127;
        let scaled_by = exp2(f32(8 - clamp(exponent, -100, 100)));
        let grows = scaled_by / to_f16;
        to_f16 = scaled_by;
        for (var turn = 0u; turn < TURNS; turn++) { // unroll
            let item = turn * WORKGROUP + lane;
            if item < ITEMS {
                let at = item / BLOCK_LINE * MAP_LINE + item % BLOCK_LINE;
                p_map[at] = elem4(P_SCALE * ps[turn]);
                ds_map[at] = elem4(to_f16 * dss[turn]);
            }
        }
        workgroupBarrier();

        for (var x = 0u; x < DEPTH_COLUMNS; x++) { // unroll
            for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                dt[i * DEPTH_COLUMNS + x] = dt[i * DEPTH_COLUMNS + x] * grows;
            }
            for (var step = 0u; step < ROWS / FRAGMENT; step++) { // unroll
                let at = step * FRAGMENT * ROW_STRIPS + (depth_column + x * FRAGMENT) / STRIP;
                let of_rows = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
                for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                    let place = step * FRAGMENT * MAP_LINE + i * (FRAGMENT / 4u);
                    let ds = coopLoad<FragmentA>(&ds_map[place], MAP_LINE);
                    dt[i * DEPTH_COLUMNS + x] = coopMultiplyAdd(ds, of_rows, dt[i * DEPTH_COLUMNS + x]);
                }
            }
        }
        for (var r = 0u; r < ROW_BLOCKS; r++) { // unroll
            for (var column = 0u; column < DEPTH_COLUMNS / FRAGMENTS; column++) { // unroll
                for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
                    var by_ds: FragmentSum;
                    var by_p: FragmentSum;
                    for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                        let place = (r * BLOCK + s / FRAGMENTS * FRAGMENT) * MAP_LINE + i * (FRAGMENT / 4u);
                        let channel = depth_column + column * BLOCK + s % FRAGMENTS * FRAGMENT;
                        let token = along_tokens(T, pair, i * FRAGMENT, channel);
                        by_ds = coopMultiplyAdd(coopLoadT<FragmentA>(&ds_map[place], MAP_LINE), token, by_ds);
                        if ALIKE == 1u {
                            let wanted = along_tokens(U, pair, i * FRAGMENT, channel);
                            by_p = coopMultiplyAdd(coopLoadT<FragmentA>(&p_map[place], MAP_LINE), wanted, by_p);
                        }
                    }
                    let part = by_ds * (1.0 / to_f16) + by_p * (1.0 / P_SCALE);
                    let at = subgroup * BLOCK_SIZE + place_in_block(s);
                    let line = BLOCK_LINE;
                    coopStoreT(part, &blocks[at], line);
                }
                workgroupBarrier();
                for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
                    let row = first + r * BLOCK + i / BLOCK_LINE;
                    if row < end {
                        let at = (depth_column + column * BLOCK) / 4u + i % BLOCK_LINE;
                        da[row_place(row) * (DEPTH / 4u) + at] = elem4(blocks[subgroup * BLOCK_SIZE + i]);
                    }
                }
                workgroupBarrier(); // blocks are overwritten by the next columns, or scores
            }
            for (var column = 0u; column < DB_COLUMNS; column++) {
                for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
                    var by_p: FragmentSum;
                    for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                        let place = (r * BLOCK + s / FRAGMENTS * FRAGMENT) * MAP_LINE + i * (FRAGMENT / 4u);
                        let channel = width_column + column * BLOCK + s % FRAGMENTS * FRAGMENT;
                        let wanted = along_tokens(U, pair, i * FRAGMENT, channel);
                        by_p = coopMultiplyAdd(coopLoadT<FragmentA>(&p_map[place], MAP_LINE), wanted, by_p);
                    }
                    let part = by_p * (1.0 / P_SCALE);
                    let at = subgroup * BLOCK_SIZE + place_in_block(s);
                    let line = BLOCK_LINE;
                    coopStoreT(part, &blocks[at], line);
                }
                workgroupBarrier();
                for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
                    let row = first + r * BLOCK + i / BLOCK_LINE;
                    if row < end {
                        let at = (width_column + column * BLOCK) / 4u + i % BLOCK_LINE;
                        db[row_place(row) * (WIDTH / 4u) + at] = elem4(blocks[subgroup * BLOCK_SIZE + i]);
                    }
                }
                workgroupBarrier(); // blocks are overwritten by the next columns, or scores
            }
        }
        if ASKING == 1u {
            keep_b(&of_b, lane); // inline
            workgroupBarrier();
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                of_b[i] = b_strip(first + ROWS, end, lane + i * WORKGROUP);
            }
            for (var x = 0u; x < COLUMNS; x++) { // unroll
                for (var step = 0u; step < ROWS / FRAGMENT; step++) { // unroll
                    let at = step * FRAGMENT * ROW_STRIPS + (width_column + x * FRAGMENT) / STRIP;
                    let of_rows = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
                    for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                        let p = coopLoad<FragmentA>(&p_map[step * FRAGMENT * MAP_LINE + i * (FRAGMENT / 4u)], MAP_LINE);
                        du[i * COLUMNS + x] = coopMultiplyAdd(p, of_rows, du[i * COLUMNS + x]);
                    }
                }
            }
        }
    }

    workgroupBarrier(); // every lane is done with the last rows
    let per_part = params.batch * tokens * params.heads;
    for (var column = 0u; column < DEPTH_COLUMNS / FRAGMENTS; column++) { // unroll
        for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
            let part = dt[s / FRAGMENTS * DEPTH_COLUMNS + column * FRAGMENTS + s % FRAGMENTS] * (1.0 / to_f16);
            let at = subgroup * BLOCK_SIZE + place_in_block(s);
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
        workgroupBarrier();
        for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
            let token = i / BLOCK_LINE;
            if token < tokens {
                let row = group.x * per_part + (image * tokens + token) * params.heads + head;
                parts[row * (DEPTH / 4u) + (depth_column + column * BLOCK) / 4u + i % BLOCK_LINE] = blocks[subgroup * BLOCK_SIZE + i];
            }
        }
        workgroupBarrier(); // blocks are overwritten by the next columns
    }
    let splits = (rows + params.split - 1u) / params.split;
    for (var column = 0u; column < DU_COLUMNS; column++) { // unroll
        for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
            let part = du[s / FRAGMENTS * COLUMNS + column * FRAGMENTS + s % FRAGMENTS] * (1.0 / P_SCALE);
            let at = subgroup * BLOCK_SIZE + place_in_block(s);
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
        workgroupBarrier();
        for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
            let token = i / BLOCK_LINE;
            if token < tokens {
                let row = group.x * per_part + (image * tokens + token) * params.heads + head;
                let before = splits * per_part * (DEPTH / 4u) + row * (WIDTH / 4u);
                parts[before + (width_column + column * BLOCK) / 4u + i % BLOCK_LINE] = blocks[subgroup * BLOCK_SIZE + i];
            }
        }
        workgroupBarrier();
    }
}
