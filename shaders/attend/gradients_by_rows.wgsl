// da = dS t and dt = dS^T a, db = P u or du = P^T b: the gradients of attention between few tokens and many rows (pixels) on
// cooperative matrices, in one pass over the rows for each BLOCK of tokens.
// ASKING = 1: rows are queries, tokens are keys; a row's gradient is dq. ASKING = 0: rows are keys, tokens are queries.
//
//   P = exp(scale a t^T - log_sum), dP = b u^T, dS = scale P (dP - c)      a, b of rows, t, u of tokens
//   rows:    da = dS t, db = P u               (b is a: da takes both)     queries: a = q, b = dy; keys: a = k, b = v
//   tokens:  dt = dS^T a, du = P^T b           in parts, one a workgroup   queries: t = k, u = v;  keys: t = q, u = dy
//
// c = rowsum(P dP) of a query: in sight where rows ask BLOCK tokens at most (WHOLE = 1), else rowsum(dy y), found before.
// Workgroups (x) of a head (y) and image (z) take ROWS rows each by turns, `stride` rows from one turn to the next; these are under
// way while others are worked on.
// The tokens, BLOCK from `first` on, stay in registers. MORE = 1: da and db hold what earlier tokens gave them, and take more.
// TILES = 2: a and b stand in workgroup memory together, else one after the other. SLOTS = 2: blocks of sums leave by two places
// of a subgroup in turns, which saves a barrier each.
// needs attend_row_gradients
// needs attend_place
// constants MORE=0 SLOTS=1

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, first: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<strip>; // [batch, rows, heads, DEPTH]
@group(0) @binding(2) var<storage, read> b: array<strip>; // [batch, rows, heads, WIDTH]
@group(0) @binding(3) var<storage, read> t: array<strip>; // [batch, tokens, heads, DEPTH]
@group(0) @binding(4) var<storage, read> u: array<strip>; // [batch, tokens, heads, WIDTH]
@group(0) @binding(5) var<storage, read> asked: array<f32>; // [batch, queries, heads, 2]: log_sum, rowsum(dy y); where rows ask and
// WHOLE [batch, heads, queries]: log_sum
@group(0) @binding(6) var<storage, read_write> da: array<elem4>; // as a
@group(0) @binding(7) var<storage, read_write> db: array<elem4>; // as b, where it is not a and no query's
@group(0) @binding(8) var<storage, read_write> parts: array<vec4<f32>>; // dt [splits, batch, tokens, heads, DEPTH], then du if ASKING

const DU_AT_ONCE: bool = ASKING == 1u && TOGETHER;
const DU_LATER: bool = ASKING == 1u && !TOGETHER;
// Where b's rows stand in `rows_tile`.
const B_ROWS: u32 = (TILES - 1u) * ROWS;
const U_ROW: u32 = BLOCK * (SIDES - 1u); // where u stands at first, behind t or in its place
const DEPTH_COLUMNS: u32 = DEPTH / SUBGROUPS / FRAGMENT;
// Blocks side by side in a subgroup: of da, db, du.
const DA_COLUMNS: u32 = DEPTH_COLUMNS / FRAGMENTS;
const DB_COLUMNS: u32 = COLUMN_BLOCKS * (1u - ALIKE) * (1u - ASKING);
const DU_COLUMNS: u32 = COLUMN_BLOCKS * ASKING;
const LEAVING: u32 = DA_COLUMNS + DB_COLUMNS;

alias OfA = array<strip, DEPTH_LOADS>;
alias OfB = array<strip, WIDTH_LOADS>;
alias DepthTokens = array<FragmentB, FRAGMENTS * DEPTH_COLUMNS>;
alias WidthTokens = array<FragmentB, FRAGMENTS * COLUMNS>;
alias DepthSums = array<FragmentSum, FRAGMENTS * DEPTH_COLUMNS>;
alias WidthSums = array<FragmentSum, FRAGMENTS * COLUMNS>;
alias Map = array<FragmentA, FRAGMENTS * FRAGMENTS>;

fn row_place(row: u32) -> u32 {
    return select(key_row(row), query_row(row), ASKING == 1u);
}
fn token_place(token: u32, tokens: u32) -> u32 {
    return (image * tokens + min(token, tokens - 1u)) * params.heads + head;
}
// From `end` on the last row again: its weights are 0 there. (Nothing may wait for what is under way, as a choice would.)
fn a_strip(first: u32, end: u32, at: u32) -> strip {
    return a[row_place(min(first + at / DEPTH_STRIPS, end - 1u)) * DEPTH_STRIPS + at % DEPTH_STRIPS];
}
fn b_strip(first: u32, end: u32, at: u32) -> strip {
    return b[row_place(min(first + at / WIDTH_STRIPS, end - 1u)) * WIDTH_STRIPS + at % WIDTH_STRIPS];
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
        rows_tile[(B_ROWS + at / WIDTH_STRIPS) * ROW_STRIPS + at % WIDTH_STRIPS] = kept((*strips)[i]);
    }
}

// dt += dS^T a, of a block of rows.
fn add_to_dt(dt: ptr<function, DepthSums>, r: u32, first_column: u32) {
    let back = from_f16[r];
    var ds: Map;
    for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
        let at = (r * BLOCK + s % FRAGMENTS * FRAGMENT) * MAP_LINE + s / FRAGMENTS * (FRAGMENT / 4u);
        ds[s] = coopLoad<FragmentA>(&ds_map[at], MAP_LINE);
    }
    for (var x = 0u; x < DEPTH_COLUMNS; x++) { // unroll
        var sums: array<FragmentSum, FRAGMENTS>;
        for (var k = 0u; k < FRAGMENTS; k++) { // unroll
            let at = (r * BLOCK + k * FRAGMENT) * ROW_STRIPS + (first_column + x * FRAGMENT) / STRIP;
            let of_rows = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
            for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                sums[i] = coopMultiplyAdd(ds[i * FRAGMENTS + k], of_rows, sums[i]);
            }
        }
        for (var i = 0u; i < FRAGMENTS; i++) { // unroll
            (*dt)[i * DEPTH_COLUMNS + x] = (*dt)[i * DEPTH_COLUMNS + x] + sums[i] * back;
        }
    }
}

// du += P_SCALE P^T b, of a block of rows.
fn add_to_du(du: ptr<function, WidthSums>, r: u32, first_column: u32) {
    var p: Map;
    for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
        let at = (r * BLOCK + s % FRAGMENTS * FRAGMENT) * MAP_LINE + s / FRAGMENTS * (FRAGMENT / 4u);
        p[s] = coopLoad<FragmentA>(&p_map[at], MAP_LINE);
    }
    for (var x = 0u; x < COLUMNS; x++) { // unroll
        for (var k = 0u; k < FRAGMENTS; k++) { // unroll
            let at = (B_ROWS + r * BLOCK + k * FRAGMENT) * ROW_STRIPS + (first_column + x * FRAGMENT) / STRIP;
            let of_rows = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
            for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                (*du)[i * COLUMNS + x] = coopMultiplyAdd(p[i * FRAGMENTS + k], of_rows, (*du)[i * COLUMNS + x]);
            }
        }
    }
}

// A block of da, or behind those of db, leaves: four numbers of a row.
fn leave(row: u32, subgroup: u32, column: u32, four: u32, value: vec4<f32>) {
    var sum = value;
    if column < DA_COLUMNS {
        let at = row * (DEPTH / 4u) + (subgroup * DA_COLUMNS + column) * BLOCK_LINE + four;
        if MORE == 1u {
            sum += vec4<f32>(da[at]);
        }
        da[at] = elem4(sum);
    } else {
        let at = row * (WIDTH / 4u) + (subgroup * COLUMN_BLOCKS + column - DA_COLUMNS) * BLOCK_LINE + four;
        if MORE == 1u {
            sum += vec4<f32>(db[at]);
        }
        db[at] = elem4(sum);
    }
}
// The columns of a block of rows that leave together, into a subgroup's place in `blocks`: da's, then db's.
fn set_out(t_tokens: ptr<function, DepthTokens>, u_tokens: ptr<function, WidthTokens>, ds: ptr<function, Map>, p: ptr<function, Map>, back: f32, column: u32, place: u32) {
    for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
        var by_ds: FragmentSum;
        var by_p: FragmentSum;
        for (var i = 0u; i < FRAGMENTS; i++) { // unroll
            let x = column * FRAGMENTS + s % FRAGMENTS;
            let behind_depth = (x + DEPTH_COLUMNS * (COLUMNS - 1u)) % COLUMNS;
            if column < DA_COLUMNS {
                by_ds = coopMultiplyAdd((*ds)[s / FRAGMENTS * FRAGMENTS + i], (*t_tokens)[i * DEPTH_COLUMNS + min(x, DEPTH_COLUMNS - 1u)], by_ds);
            }
            if column + ALIKE * DA_COLUMNS >= DA_COLUMNS {
                by_p = coopMultiplyAdd((*p)[s / FRAGMENTS * FRAGMENTS + i], (*u_tokens)[i * COLUMNS + behind_depth], by_p);
            }
        }
        let part = by_ds * back + by_p * (1.0 / P_SCALE);
        let at = place + place_in_block(s);
        let line = BLOCK_LINE;
        coopStoreT(part, &blocks[at], line);
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    head = group.y;
    image = group.z;
    let rows = select(params.keys, params.queries, ASKING == 1u);
    let tokens = select(params.queries, params.keys, ASKING == 1u);
    let begin = group.x * ROWS;
    let end = rows;
    let subgroup = lane / SUBGROUP;
    let depth_column = subgroup * DEPTH_COLUMNS * FRAGMENT;
    let width_column = subgroup * COLUMNS * FRAGMENT;
    let own_side = subgroup / SIDE_SUBGROUPS; // 0: t

    var known: Known; // of the subgroup's own side; of t, where it has both
    var known_u: Known;
    var t_tokens: DepthTokens;
    var u_tokens: WidthTokens;
    for (var i = lane; i < BLOCK * DEPTH_STRIPS; i += WORKGROUP) {
        let token = params.first + i / DEPTH_STRIPS;
        let loaded = t[token_place(token, tokens) * DEPTH_STRIPS + i % DEPTH_STRIPS];
        rows_tile[i / DEPTH_STRIPS * ROW_STRIPS + i % DEPTH_STRIPS] = kept(select(strip(), loaded, token < tokens));
    }
    workgroupBarrier();
    if SIDES == 1u {
        know(&known, 0u, DEPTH, 0u, subgroup); // inline
    }
    for (var i = 0u; i < FRAGMENTS * DEPTH_COLUMNS; i++) { // unroll
        let at = i / DEPTH_COLUMNS * FRAGMENT * ROW_STRIPS + (depth_column + i % DEPTH_COLUMNS * FRAGMENT) / STRIP;
        t_tokens[i] = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
    }
    if SIDES == 1u {
        workgroupBarrier(); // u goes where t was
    }
    for (var i = lane; i < BLOCK * WIDTH_STRIPS; i += WORKGROUP) {
        let token = params.first + i / WIDTH_STRIPS;
        let loaded = u[token_place(token, tokens) * WIDTH_STRIPS + i % WIDTH_STRIPS];
        rows_tile[(U_ROW + i / WIDTH_STRIPS) * ROW_STRIPS + i % WIDTH_STRIPS] = kept(select(strip(), loaded, token < tokens));
    }
    workgroupBarrier();
    if SIDES == 1u {
        know(&known_u, 0u, WIDTH, 0u, subgroup); // inline
    } else {
        know(&known, 0u, WIDTH, own_side * U_ROW, subgroup); // inline
    }
    for (var i = 0u; i < FRAGMENTS * COLUMNS; i++) { // unroll
        let at = (U_ROW + i / COLUMNS * FRAGMENT) * ROW_STRIPS + (width_column + i % COLUMNS * FRAGMENT) / STRIP;
        u_tokens[i] = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
    }

    // A lane sees to the same four tokens all along; where they ask, what it needs of them stays.
    let token = params.first + 4u * (lane % BLOCK_LINE);
    let exists = vec4(token) + vec4(0u, 1u, 2u, 3u) < vec4(tokens);
    var log_sums: Items;
    var cs: Items;
    var dps: Items;
    for (var i = 0u; i < 4u * (1u - ASKING); i++) { // unroll
        let at = 2u * query_row(min(token + i, tokens - 1u));
        for (var item = 0u; item < ALL_ITEMS; item++) { // unroll
            log_sums[item][i] = asked[at];
            cs[item][i] = asked[at + 1u];
        }
    }

    var dt: DepthSums;
    var du: WidthSums;
    var of_a: OfA;
    var of_b: OfB;
    for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
        of_a[i] = a_strip(begin, end, lane + i * WORKGROUP);
    }
    for (var i = 0u; i < WIDTH_LOADS * (1u - ALIKE); i++) { // unroll
        of_b[i] = b_strip(begin, end, lane + i * WORKGROUP);
    }
    for (var first = begin; first < end; first += params.stride) {
        workgroupBarrier(); // every lane is done with the last rows
        if TOGETHER {
            keep_a(&of_a, lane); // inline
        }
        if ALIKE == 0u {
            keep_b(&of_b, lane); // inline
        }
        workgroupBarrier();
        for (var i = 0u; i < ALL_ITEMS * ASKING; i++) { // unroll
            let row = min(first + map_row(i, subgroup, lane), end - 1u);
            log_sums[i] = vec4(asked[select(2u * query_row(row), statistic(row), WHOLE == 1u)]);
            if WHOLE == 0u {
                cs[i] = vec4(asked[2u * query_row(row) + 1u]);
            }
        }
        for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
            of_a[i] = a_strip(select(first, first + params.stride, TOGETHER), end, lane + i * WORKGROUP);
        }
        if TILES == 2u {
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                of_b[i] = b_strip(first + params.stride, end, lane + i * WORKGROUP);
            }
        }
        if SIDES == 2u {
            add_products(&known, DEPTH, own_side * B_ROWS, own_side * B_BLOCKS, subgroup); // inline
        } else {
            add_products(&known_u, WIDTH, B_ROWS, B_BLOCKS, subgroup); // inline
            if !TOGETHER {
                workgroupBarrier();
                for (var i = 0u; i < ALL_ITEMS; i++) { // unroll
                    dps[i] = products_of(min(map_row(i, subgroup, lane), ROWS - 1u), lane % BLOCK_LINE, 0u);
                }
                keep_a(&of_a, lane); // inline
                // Where rows ask, b is needed once more for this tile.
                for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                    of_b[i] = b_strip(first + (1u - ASKING) * params.stride, end, lane + i * WORKGROUP);
                }
                workgroupBarrier(); // scores go where the gradients were
            }
            add_products(&known, DEPTH, 0u, 0u, subgroup); // inline
        }
        workgroupBarrier();
        make_maps(&dps, &log_sums, &cs, exists, end - first, lane); // inline
        workgroupBarrier();

        for (var r = 0u; r < ROW_BLOCKS; r++) {
            add_to_dt(&dt, r, depth_column); // inline
            if DU_AT_ONCE {
                add_to_du(&du, r, width_column); // inline
            }
        }
        for (var r = 0u; r < ROW_BLOCKS; r++) {
            let back = from_f16[r];
            var ds: Map;
            var p: Map;
            for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
                let at = (r * BLOCK + s / FRAGMENTS * FRAGMENT) * MAP_LINE + s % FRAGMENTS * (FRAGMENT / 4u);
                ds[s] = coopLoadT<FragmentA>(&ds_map[at], MAP_LINE);
                p[s] = coopLoadT<FragmentA>(&p_map[at], MAP_LINE);
            }
            for (var column = 0u; column < LEAVING; column++) { // unroll
                let place = ((r * LEAVING + column) % SLOTS * SUBGROUPS + subgroup) * BLOCK_SIZE;
                set_out(&t_tokens, &u_tokens, &ds, &p, back, column, place); // inline
                workgroupBarrier();
                for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
                    let row = first + r * BLOCK + i / BLOCK_LINE;
                    if row < end {
                        leave(row_place(row), subgroup, column, i % BLOCK_LINE, blocks[place + i]);
                    }
                }
                if SLOTS == 1u {
                    workgroupBarrier(); // blocks are overwritten by the next columns, or scores
                }
            }
        }
        if DU_LATER {
            workgroupBarrier(); // every lane is done with a
            keep_b(&of_b, lane); // inline
            workgroupBarrier();
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                of_b[i] = b_strip(first + params.stride, end, lane + i * WORKGROUP);
            }
            for (var r = 0u; r < ROW_BLOCKS; r++) {
                add_to_du(&du, r, width_column); // inline
            }
        }
    }

    workgroupBarrier(); // every lane is done with the last rows
    let per_part = params.batch * tokens * params.heads;
    let of_du = params.stride / ROWS * per_part * (DEPTH / 4u);
    for (var column = 0u; column < DA_COLUMNS + DU_COLUMNS; column++) { // unroll
        for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
            var part: FragmentSum;
            let x = column * FRAGMENTS + s % FRAGMENTS;
            let behind_depth = (x + DEPTH_COLUMNS * (COLUMNS - 1u)) % COLUMNS;
            if column < DA_COLUMNS {
                part = dt[s / FRAGMENTS * DEPTH_COLUMNS + min(x, DEPTH_COLUMNS - 1u)];
            } else {
                part = du[s / FRAGMENTS * COLUMNS + behind_depth] * (1.0 / P_SCALE);
            }
            let at = subgroup * BLOCK_SIZE + place_in_block(s);
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
        workgroupBarrier();
        for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
            let token = params.first + i / BLOCK_LINE;
            if token < tokens {
                let row = group.x * per_part + token_place(token, tokens);
                let fours = select(of_du + row * (WIDTH / 4u) + width_column / 4u, row * (DEPTH / 4u) + depth_column / 4u, column < DA_COLUMNS);
                let of_column = (column - select(DA_COLUMNS, 0u, column < DA_COLUMNS)) * BLOCK_LINE;
                parts[fours + of_column + i % BLOCK_LINE] = blocks[subgroup * BLOCK_SIZE + i];
            }
        }
        workgroupBarrier(); // blocks are overwritten by the next columns
    }
}
