// y = f(softmax over keys(q k^T scale) v + shortcut), f and shortcut if RELU and SHORTCUT = 1; log_sum = max + ln sum of exp: `cross_attention` on cooperative matrices.
// Workgroups (x) of a head (y) and image (z) take ROWS queries each by turns, `stride` queries from one turn to the next; these
// are under way while others are worked on. The keys, TOKEN_BLOCKS blocks of them, and their values stay in registers.
// needs attend_products
// needs attend_place
// constants SHORTCUT=0 RELU=0

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<strip>; // [batch, queries, heads, DEPTH]
@group(0) @binding(2) var<storage, read> k: array<strip>; // [batch, keys, heads, DEPTH]
@group(0) @binding(3) var<storage, read> v: array<strip>; // [batch, keys, heads, WIDTH]
@group(0) @binding(4) var<storage, read> shortcut: array<elem4>; // as y; without, q
@group(0) @binding(5) var<storage, read_write> y: array<elem4>; // [batch, queries, heads, WIDTH]
@group(0) @binding(6) var<storage, read_write> log_sum: array<f32>; // [batch, heads, queries]

// Lanes that share a row, and the groups of four keys that each has.
const ROW_LANES: u32 = max(WORKGROUP / ROWS, 1u);
const ROW_TURNS: u32 = max(ROWS / WORKGROUP, 1u);
const KEY_GROUPS: u32 = TOKEN_BLOCKS * BLOCK_LINE;
const KEY_LINE: u32 = KEY_GROUPS + 2u;

// Numbers of four of a block that a lane writes.
const LEAVING: u32 = BLOCK_SIZE / SUBGROUP;

var<workgroup> weights: array<elem4, ROWS * KEY_LINE>; // [row, key]
alias Values = array<FragmentB, TOKEN_BLOCKS * FRAGMENTS * COLUMNS>;

fn query_strip(first: u32, end: u32, at: u32) -> strip {
    return q[query_row(min(first + at / DEPTH_STRIPS, end - 1u)) * DEPTH_STRIPS + at % DEPTH_STRIPS];
}

fn scores_of(row: u32, key_group: u32) -> vec4<f32> {
    return only_keys(params.scale * products_of(row, key_group, 0u), 4u * key_group, params.keys);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    head = group.y;
    image = group.z;
    let begin = group.x * ROWS;
    let end = params.queries;
    let subgroup = lane / SUBGROUP;
    let column = subgroup * COLUMNS * FRAGMENT;

    var known: Known;
    var values: Values;
    for (var block = 0u; block < TOKEN_BLOCKS; block++) { // unroll
        workgroupBarrier(); // every lane is done with the last block
        for (var i = lane; i < BLOCK * DEPTH_STRIPS; i += WORKGROUP) {
            let key = block * BLOCK + i / DEPTH_STRIPS;
            let loaded = k[key_row(min(key, params.keys - 1u)) * DEPTH_STRIPS + i % DEPTH_STRIPS];
            rows_tile[i / DEPTH_STRIPS * ROW_STRIPS + i % DEPTH_STRIPS] = kept(select(strip(), loaded, key < params.keys));
        }
        workgroupBarrier();
        know(&known, block, DEPTH, 0u, subgroup); // inline
        workgroupBarrier();
        for (var i = lane; i < BLOCK * WIDTH_STRIPS; i += WORKGROUP) {
            let key = block * BLOCK + i / WIDTH_STRIPS;
            let loaded = v[key_row(min(key, params.keys - 1u)) * WIDTH_STRIPS + i % WIDTH_STRIPS];
            rows_tile[i / WIDTH_STRIPS * ROW_STRIPS + i % WIDTH_STRIPS] = kept(select(strip(), loaded, key < params.keys));
        }
        workgroupBarrier();
        for (var i = 0u; i < FRAGMENTS * COLUMNS; i++) { // unroll
            let at = i / COLUMNS * FRAGMENT * ROW_STRIPS + (column + i % COLUMNS * FRAGMENT) / STRIP;
            values[block * FRAGMENTS * COLUMNS + i] = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
        }
    }

    var queries: array<strip, DEPTH_LOADS>;
    for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
        queries[i] = query_strip(begin, end, lane + i * WORKGROUP);
    }
    for (var first = begin; first < end; first += params.stride) {
        workgroupBarrier(); // every lane is done with the last rows
        for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
            let at = lane + i * WORKGROUP;
            rows_tile[at / DEPTH_STRIPS * ROW_STRIPS + at % DEPTH_STRIPS] = kept(queries[i]);
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
            queries[i] = query_strip(first + params.stride, end, lane + i * WORKGROUP);
        }
        add_products(&known, DEPTH, 0u, 0u, subgroup); // inline
        workgroupBarrier();

        for (var turn = 0u; turn < ROW_TURNS; turn++) {
            let row = turn * WORKGROUP + lane / ROW_LANES;
            var scores: array<vec4<f32>, KEY_GROUPS>;
            var largest = LOWEST;
            for (var g = 0u; g < KEY_GROUPS; g++) { // unroll
                scores[g] = scores_of(row, g);
                largest = max(largest, largest_of(scores[g]));
            }
            var total = 0.0;
            for (var g = 0u; g < KEY_GROUPS; g++) { // unroll
                scores[g] = exp(scores[g] - largest);
                total += (scores[g].x + scores[g].y) + (scores[g].z + scores[g].w);
            }
            for (var g = 0u; g < KEY_GROUPS; g++) { // unroll
                if g % ROW_LANES == lane % ROW_LANES {
                    weights[row * KEY_LINE + g] = elem4(scores[g] / total);
                }
            }
            if lane % ROW_LANES == 0u && first + row < end {
                log_sum[statistic(first + row)] = largest + log(total);
            }
        }
        workgroupBarrier();
        for (var r = 0u; r < ROW_BLOCKS; r++) { // unroll
            for (var c = 0u; c < COLUMN_BLOCKS; c++) { // unroll
                var beside: array<elem4, LEAVING>; // under way while sums are made
                if SHORTCUT == 1u {
                    for (var i = 0u; i < LEAVING; i++) { // unroll
                        let at = i * SUBGROUP + lane % SUBGROUP;
                        let query = min(first + r * BLOCK + at / BLOCK_LINE, end - 1u);
                        beside[i] = shortcut[query_row(query) * (WIDTH / 4u) + (column + c * BLOCK) / 4u + at % BLOCK_LINE];
                    }
                }
                var sums: array<FragmentSum, FRAGMENTS * FRAGMENTS>;
                for (var s = 0u; s < FRAGMENTS * FRAGMENTS; s++) { // unroll
                    for (var t = 0u; t < TOKEN_BLOCKS * FRAGMENTS; t++) { // unroll
                        let place = (r * BLOCK + s / FRAGMENTS * FRAGMENT) * KEY_LINE + t * (FRAGMENT / 4u);
                        let weight = coopLoadT<FragmentA>(&weights[place], KEY_LINE);
                        sums[s] = coopMultiplyAdd(weight, values[t * COLUMNS + c * FRAGMENTS + s % FRAGMENTS], sums[s]);
                    }
                    let part = sums[s];
                    let at = subgroup * BLOCK_SIZE + place_in_block(s);
                    let line = BLOCK_LINE;
                    coopStoreT(part, &blocks[at], line);
                }
                workgroupBarrier();
                for (var i = 0u; i < LEAVING; i++) { // unroll
                    let at = i * SUBGROUP + lane % SUBGROUP;
                    let query = first + r * BLOCK + at / BLOCK_LINE;
                    let sum = blocks[subgroup * BLOCK_SIZE + at] + vec4<f32>(beside[i]);
                    if query < end {
                        let place = query_row(query) * (WIDTH / 4u) + (column + c * BLOCK) / 4u + at % BLOCK_LINE;
                        y[place] = elem4(select(sum, max(sum, vec4<f32>()), RELU == 1u));
                    }
                }
                workgroupBarrier(); // blocks are overwritten by the next columns, or scores
            }
        }
    }
}
