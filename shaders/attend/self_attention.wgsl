// y = softmax over keys(q k^T scale) v; log_sum = max + ln sum of exp. At most QUERIES queries and KEYS keys (tokens).
// One workgroup an (image, head), its whole map of weights in workgroup memory; one lane an element of y.
// needs elem_f32 | elem_f16
// needs index
// needs attend_place
// needs attend_softmax

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read_write> y: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>; // [batch, heads, queries]

var<workgroup> weights: array<vec4<f32>, WORKGROUP>; // [QUERIES, QUADS]

fn load_left(product: u32, query: u32, c: u32) -> f32 {
    if query >= params.queries || c >= params.depth {
        return 0.0;
    }
    return f32(q[query_row(query) * params.depth + c]);
}
fn load_right(product: u32, key: u32, c: u32) -> f32 {
    if key >= params.keys || c >= params.depth {
        return 0.0;
    }
    return f32(k[key_row(key) * params.depth + c]);
}
fn value(key: u32, c: u32) -> f32 {
    return f32(v[key_row(min(key, params.keys - 1u)) * params.width + c]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    if number >= params.heads * params.batch {
        return;
    }
    head = number % params.heads;
    image = number / params.heads;
    let query = lane / QUADS;
    let quad = lane % QUADS;

    let scores = only_keys(params.scale * tile_product(0u, params.depth, lane), 4u * quad, params.keys);
    let largest = largest_of_query(scores, lane);
    let weight = exp(scores - largest);
    let total = sum_of_query((weight.x + weight.y) + (weight.z + weight.w), lane);
    weights[lane] = weight / total;
    if quad == 0u && query < params.queries {
        log_sum[statistic(query)] = largest + log(total);
    }
    workgroupBarrier();
    for (var i = lane; i < params.queries * params.width; i += WORKGROUP) {
        let row = i / params.width;
        let c = i % params.width;
        var sum = 0.0;
        for (var at = 0u; 4u * at < params.keys; at++) {
            let key = 4u * at;
            let values = vec4(value(key, c), value(key + 1u, c), value(key + 2u, c), value(key + 3u, c));
            sum += dot(weights[row * QUADS + at], values);
        }
        y[query_row(row) * params.width + c] = elem(sum);
    }
}
