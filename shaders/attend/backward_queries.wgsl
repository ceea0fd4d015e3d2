// dq = dS k, with dS = scale P (dy v^T - rowsum(dy y)). Any number of queries, keys and channels.
// One workgroup QUERIES queries of an (image, head) and `split` keys, which it meets KEYS at a time.
// needs elem_f32 | elem_f16
// needs part_elem | part_f32
// needs index
// needs attend_gradients
// needs attend_sums

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read> dy: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(5) var<storage, read> rows: array<f32>; // [batch, queries, heads, 2], or if WHOLE log_sum [batch, heads, queries]
@group(0) @binding(6) var<storage, read_write> dq: array<part>; // [splits, batch, queries, heads, depth]

fn value(key: u32, c: u32) -> f32 {
    return f32(k[key_row(min(key, params.keys - 1u)) * params.depth + min(c, params.depth - 1u)]);
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

    for (var strip = 0u; strip < params.depth; strip += STRIP) {
        clear_sums();
        for (var first = begin; first < end; first += KEYS) {
            first_key = first;
            // With keys enough for one tile only, the weights of the first strip serve the others.
            if strip == 0u || end - begin > KEYS {
                weights[lane] = tile_gradients(lane, end).ds;
                workgroupBarrier();
            }
            add_values(strip, (min(KEYS, end - first) + 3u) / 4u, lane);
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let query = first_query + sums_row(lane) + r * ROW_STEP;
            let start = (part_number * params.batch * params.queries * params.heads + query_row(query)) * params.depth;
            for (var j = 0u; j < CHANNELS; j++) { // unroll
                let c = strip + sums_channel(lane) + j * CHANNEL_LANES;
                if query < params.queries && c < params.depth {
                    dq[start + c] = part(sums[r * CHANNELS + j]);
                }
            }
        }
    }
}
