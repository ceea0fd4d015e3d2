// y = softmax over keys(q k^T scale) v; log_sum = max + ln sum of exp: `softmax_pool` on cooperative matrices.
// One workgroup BLOCK queries of a head (x) and image (z). Workgroups (y) take ROWS keys each by turns, `stride` keys from one
// turn to the next; these are under way while others are worked on. Weights are exp(score - reference) in f16, divided by their sum at the very end: over many
// pixels normalized ones would be subnormal. The reference is the largest score so far, or a little less: sums are rescaled
// only when it is exceeded by more than HEADROOM, which seldom happens after the first rows.
// needs attend_rows
// needs part_elem | part_f32
// needs attend_place
// constants ALIKE=0

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, stride: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<strip>; // [batch, queries, heads, DEPTH]
@group(0) @binding(2) var<storage, read> k: array<strip>; // [batch, keys, heads, DEPTH]
@group(0) @binding(3) var<storage, read> v: array<strip>; // [batch, keys, heads, WIDTH]; k itself if ALIKE
@group(0) @binding(4) var<storage, read_write> y: array<part4>; // [splits, batch, queries, heads, WIDTH]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>; // [splits, batch, heads, queries]

// e^8 of the largest weight leaves f16 room above for no overflow, and below for what counts.
const HEADROOM: f32 = 8.0;

var<workgroup> weights: array<elem4, BLOCK * WEIGHTS_LINE>;
var<workgroup> raised: array<u32, BLOCK>; // whether a query's reference was
var<workgroup> factors: array<f32, BLOCK>; // what its sums are to be multiplied by
var<workgroup> own_sums: array<f32, WORKGROUP>;
// A subgroup has one part of the channels, of SHARE blocks of rows.
const STEPS: u32 = DEPTH / DEPTH_PARTS / FRAGMENT;
const SHARE: u32 = ROW_BLOCKS * DEPTH_PARTS / SUBGROUPS;
const_assert SHARE * SUBGROUPS == ROW_BLOCKS * DEPTH_PARTS && SUBGROUPS % DEPTH_PARTS == 0u;
alias Asked = array<FragmentA, FRAGMENTS * STEPS>;
alias Sums = array<FragmentSum, FRAGMENTS * COLUMNS>;

// From `end` on the last key again: its weights are 0 there. (Nothing may wait for what is under way, as a choice would.)
fn key_strip(first: u32, end: u32, at: u32) -> strip {
    return k[key_row(min(first + at / DEPTH_STRIPS, end - 1u)) * DEPTH_STRIPS + at % DEPTH_STRIPS];
}
fn value_strip(first: u32, end: u32, at: u32) -> strip {
    return v[key_row(min(first + at / WIDTH_STRIPS, end - 1u)) * WIDTH_STRIPS + at % WIDTH_STRIPS];
}

// Scores of the tile's rows, before they are scaled, into `blocks`.
fn add_scores(asked: ptr<function, Asked>, subgroup: u32) {
    let first_channel = subgroup % DEPTH_PARTS * (DEPTH / DEPTH_PARTS);
    for (var i = 0u; i < SHARE; i++) { // unroll
        let block = subgroup + i * SUBGROUPS;
        let row = block / DEPTH_PARTS * BLOCK;
        var scores: array<FragmentSum, FRAGMENTS * FRAGMENTS>;
        for (var step = 0u; step < STEPS; step++) { // unroll
            for (var x = 0u; x < FRAGMENTS; x++) { // unroll
                let at = (row + x * FRAGMENT) * ROW_STRIPS + (first_channel + step * FRAGMENT) / STRIP;
                let known = coopLoad<FragmentB>(&rows_tile[at].lo, ROW_LINE);
                for (var i2 = 0u; i2 < FRAGMENTS; i2++) { // unroll
                    scores[i2 * FRAGMENTS + x] = coopMultiplyAdd((*asked)[i2 * STEPS + step], known, scores[i2 * FRAGMENTS + x]);
                }
            }
        }
        for (var i2 = 0u; i2 < FRAGMENTS * FRAGMENTS; i2++) { // unroll
            // naga 30 panics on arguments of coopStoreT that are no plain names.
            let part = scores[i2];
            let at = block * BLOCK_SIZE + place_in_block(i2);
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
    }
}

// y += weights rows.
fn add_values(sums: ptr<function, Sums>, subgroup: u32) {
    let column = subgroup * (COLUMNS * FRAGMENT);
    for (var step = 0u; step < ROWS / FRAGMENT; step++) { // unroll
        var weight: array<FragmentA, FRAGMENTS>;
        for (var i = 0u; i < FRAGMENTS; i++) { // unroll
            weight[i] = coopLoadT<FragmentA>(&weights[i * FRAGMENT * WEIGHTS_LINE + step * (FRAGMENT / 4u)], WEIGHTS_LINE);
        }
        for (var x = 0u; x < COLUMNS; x++) { // unroll
            let at = step * FRAGMENT * ROW_STRIPS + (column + x * FRAGMENT) / STRIP;
            let values = coopLoadT<FragmentB>(&rows_tile[at].lo, ROW_LINE);
            for (var i = 0u; i < FRAGMENTS; i++) { // unroll
                (*sums)[i * COLUMNS + x] = coopMultiplyAdd(weight[i], values, (*sums)[i * COLUMNS + x]);
            }
        }
    }
}

// A block of 16 columns of a subgroup's sums, to its own place in `blocks`.
fn spill(sums: ptr<function, Sums>, subgroup: u32, x0: u32) {
    for (var i = 0u; i < FRAGMENTS * FRAGMENTS; i++) { // unroll
        let part = (*sums)[i / FRAGMENTS * COLUMNS + x0 + i % FRAGMENTS];
        let at = subgroup * BLOCK_SIZE + place_in_block(i);
        let line = BLOCK_LINE;
        coopStoreT(part, &blocks[at], line);
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    first_query = group.x / params.heads * BLOCK;
    head = group.x % params.heads;
    let part_number = group.y;
    image = group.z;
    let begin = part_number * ROWS;
    let end = params.keys;
    let subgroup = lane / SUBGROUP;
    let token = lane / TOKEN_LANES;
    let slot = lane % TOKEN_LANES;

    for (var i = lane; i < BLOCK * DEPTH_STRIPS; i += WORKGROUP) {
        let query = first_query + i / DEPTH_STRIPS;
        let loaded = q[query_row(min(query, params.queries - 1u)) * DEPTH_STRIPS + i % DEPTH_STRIPS];
        rows_tile[i / DEPTH_STRIPS * ROW_STRIPS + i % DEPTH_STRIPS] = kept(select(strip(), loaded, query < params.queries));
    }
    workgroupBarrier();
    var asked: Asked;
    for (var i = 0u; i < FRAGMENTS * STEPS; i++) { // unroll
        let channel = subgroup % DEPTH_PARTS * (DEPTH / DEPTH_PARTS) + i % STEPS * FRAGMENT;
        asked[i] = coopLoadT<FragmentA>(&rows_tile[i / STEPS * FRAGMENT * ROW_STRIPS + channel / STRIP].lo, ROW_LINE);
    }

    var sums: Sums;
    var reference = LOWEST;
    var sum = 0.0; // over the lane's own keys
    var keys: array<strip, DEPTH_LOADS>;
    var values: array<strip, WIDTH_LOADS>;
    for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
        keys[i] = key_strip(begin, end, lane + i * WORKGROUP);
    }
    for (var first = begin; first < end; first += params.stride) {
        workgroupBarrier(); // every lane is done with the last rows
        for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
            let at = lane + i * WORKGROUP;
            rows_tile[at / DEPTH_STRIPS * ROW_STRIPS + at % DEPTH_STRIPS] = kept(keys[i]);
        }
        workgroupBarrier();
        if ALIKE == 0u {
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                values[i] = value_strip(first, end, lane + i * WORKGROUP);
            }
        } else {
            for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
                keys[i] = key_strip(first + params.stride, end, lane + i * WORKGROUP);
            }
        }
        add_scores(&asked, subgroup); // inline
        workgroupBarrier();

        var scores: array<vec4<f32>, OWN_GROUPS>;
        var largest = LOWEST;
        for (var i = 0u; i < OWN_GROUPS; i++) { // unroll
            let g = slot + i * TOKEN_LANES;
            if g < GROUPS {
                scores[i] = only_keys(params.scale * product_of(token, g), first + 4u * g, end);
                largest = max(largest, largest_of(scores[i]));
            }
        }
        for (var step = 1u; step < TOKEN_LANES; step *= 2u) {
            largest = max(largest, subgroupShuffleXor(largest, step));
        }
        let raise = largest > reference + HEADROOM;
        let raised_to = select(reference, largest, raise);
        let factor = exp(reference - raised_to);
        reference = raised_to;
        sum *= factor;
        for (var i = 0u; i < OWN_GROUPS; i++) { // unroll
            let g = slot + i * TOKEN_LANES;
            if g < GROUPS {
                let weight = exp(scores[i] - reference);
                weights[token * WEIGHTS_LINE + g] = elem4(weight);
                sum += (weight.x + weight.y) + (weight.z + weight.w);
            }
        }
        if slot == 0u {
            raised[token] = u32(raise & (first != begin));
            factors[token] = factor;
        }
        if ALIKE == 0u {
            for (var i = 0u; i < WIDTH_LOADS; i++) { // unroll
                let at = lane + i * WORKGROUP;
                rows_tile[at / WIDTH_STRIPS * ROW_STRIPS + at % WIDTH_STRIPS] = kept(values[i]);
            }
            for (var i = 0u; i < DEPTH_LOADS; i++) { // unroll
                keys[i] = key_strip(first + params.stride, end, lane + i * WORKGROUP);
            }
        }
        let raises = workgroupUniformLoad(&raised); // also a barrier: weights and values are there
        // An expression, which naga sees to be the same for all lanes.
        let any = raises[0] | raises[1] | raises[2] | raises[3] | raises[4] | raises[5] | raises[6] | raises[7];
        let more = raises[8] | raises[9] | raises[10] | raises[11] | raises[12] | raises[13] | raises[14] | raises[15];
        if (any | more) != 0u {
            for (var column = 0u; column < COLUMN_BLOCKS; column++) { // unroll
                let x0 = column * FRAGMENTS;
                spill(&sums, subgroup, x0); // inline
                workgroupBarrier();
                for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
                    blocks[subgroup * BLOCK_SIZE + i] *= factors[i / BLOCK_LINE];
                }
                workgroupBarrier();
                for (var i = 0u; i < FRAGMENTS * FRAGMENTS; i++) { // unroll
                    let at = subgroup * BLOCK_SIZE + place_in_block(i);
                    sums[i / FRAGMENTS * COLUMNS + x0 + i % FRAGMENTS] = coopLoadT<FragmentSum>(&blocks[at], BLOCK_LINE);
                }
                workgroupBarrier(); // blocks are overwritten by the next columns, or scores
            }
        }
        add_values(&sums, subgroup); // inline
    }

    own_sums[lane] = sum;
    workgroupBarrier();
    if slot == 0u {
        var total = 0.0;
        for (var i = 0u; i < TOKEN_LANES; i++) {
            total += own_sums[lane + i];
        }
        factors[token] = 1.0 / total;
        let query = first_query + token;
        if query < params.queries {
            log_sum[part_number * params.batch * params.heads * params.queries + statistic(query)] = reference + log(total);
        }
    }
    for (var column = 0u; column < COLUMN_BLOCKS; column++) { // unroll
        let x0 = column * FRAGMENTS;
        spill(&sums, subgroup, x0); // inline
        workgroupBarrier();
        for (var i = lane % SUBGROUP; i < BLOCK_SIZE; i += SUBGROUP) {
            let query = first_query + i / BLOCK_LINE;
            if query < params.queries {
                let row = part_number * params.batch * params.queries * params.heads + query_row(query);
                let c = (subgroup * COLUMNS + x0) * (FRAGMENT / 4u) + i % BLOCK_LINE;
                y[row * (WIDTH / 4u) + c] = part4(blocks[subgroup * BLOCK_SIZE + i] * factors[i / BLOCK_LINE]);
            }
        }
        workgroupBarrier(); // blocks are overwritten by the next columns
    }
}
