// y = softmax over keys(q k^T scale) v; log_sum = max + ln sum of exp. Any number of queries, keys and channels.
// One workgroup QUERIES queries of an (image, head) and `split` keys, which it meets KEYS at a time: one pass, the running
// maximum and sum rescaled as it grows (Milakov & Gimelshein 2018), and the map of weights never stored.
// needs elem_f32 | elem_f16
// needs part_elem | part_f32
// needs index
// needs attend_place
// needs attend_softmax
// needs attend_sums

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read_write> y: array<part>; // [splits, batch, queries, heads, width]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>; // [splits, batch, heads, queries]

var<workgroup> factor: array<f32, QUERIES>; // what lanes that sum values must know of a query

fn load_left(product: u32, row: u32, c: u32) -> f32 {
    let query = first_query + row;
    if query >= params.queries || c >= params.depth {
        return 0.0;
    }
    return f32(q[query_row(query) * params.depth + c]);
}
fn load_right(product: u32, row: u32, c: u32) -> f32 {
    let key = first_key + row;
    if key >= params.keys || c >= params.depth {
        return 0.0;
    }
    return f32(k[key_row(key) * params.depth + c]);
}
fn value(key: u32, c: u32) -> f32 {
    return f32(v[key_row(min(key, params.keys - 1u)) * params.width + min(c, params.width - 1u)]);
}
fn load_values(quad: u32, c: u32) -> vec4<f32> {
    let key = first_key + 4u * quad;
    return vec4(value(key, c), value(key + 1u, c), value(key + 2u, c), value(key + 3u, c));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let splits = (params.keys + params.split - 1u) / params.split;
    let number = folded(group, groups);
    if number >= tiles * params.heads * splits * params.batch {
        return;
    }
    first_query = number % tiles * QUERIES;
    head = number / tiles % params.heads;
    let part_number = number / (tiles * params.heads) % splits;
    image = number / (tiles * params.heads * splits);
    let begin = part_number * params.split;
    let end = min(begin + params.split, params.keys);
    let query = lane / QUADS;
    let quad = lane % QUADS;

    for (var strip = 0u; strip < params.width; strip += STRIP) {
        clear_sums();
        var largest = LOWEST;
        var sum = 0.0; // over the lane's own keys
        for (var first = begin; first < end; first += KEYS) {
            first_key = first;
            let scores = only_keys(params.scale * tile_product(0u, params.depth, lane), first + 4u * quad, end);
            let larger = max(largest, largest_of_query(scores, lane));
            let shrink = exp(largest - larger);
            let weight = exp(scores - larger);
            sum = sum * shrink + (weight.x + weight.y) + (weight.z + weight.w);
            largest = larger;
            weights[lane] = weight;
            if quad == 0u {
                factor[query] = shrink;
            }
            workgroupBarrier();
            for (var r = 0u; r < ROWS; r++) { // unroll
                let shrunk = factor[sums_row(lane) + r * ROW_STEP];
                for (var j = 0u; j < CHANNELS; j++) { // unroll
                    sums[r * CHANNELS + j] *= shrunk;
                }
            }
            add_values(strip, (min(KEYS, end - first) + 3u) / 4u, lane);
        }
        let total = sum_of_query(sum, lane); // its barriers end all reading of `factor`
        if quad == 0u {
            factor[query] = total;
        }
        let splits_before = part_number * params.batch;
        if strip == 0u && quad == 0u && first_query + query < params.queries {
            log_sum[splits_before * params.heads * params.queries + statistic(first_query + query)] = largest + log(total);
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) { // unroll
            let row = first_query + sums_row(lane) + r * ROW_STEP;
            let start = (splits_before * params.queries * params.heads + query_row(row)) * params.width;
            for (var j = 0u; j < CHANNELS; j++) { // unroll
                let c = strip + sums_channel(lane) + j * CHANNEL_LANES;
                if row < params.queries && c < params.width {
                    y[start + c] = part(sums[r * CHANNELS + j] / factor[row - first_query]);
                }
            }
        }
        workgroupBarrier(); // the next strip writes `factor`
    }
}
