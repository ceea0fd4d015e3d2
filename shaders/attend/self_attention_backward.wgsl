// dq = dS k, dk = dS^T q and dv = P^T dy, with dS = scale P (dy v^T - rowsum(dy y)). At most QUERIES queries, KEYS keys.
// One workgroup an (image, head), its P and dS in workgroup memory; one lane an element of dq, or four keys' of dk and dv.
// needs elem_f32 | elem_f16
// needs part_elem | part_f32
// needs index
// needs attend_gradients

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read> dy: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(5) var<storage, read> rows: array<f32>; // [batch, queries, heads, 2], or if WHOLE log_sum [batch, heads, queries]
@group(0) @binding(6) var<storage, read_write> dq: array<elem>; // as q
@group(0) @binding(7) var<storage, read_write> dk: array<part>; // as k
@group(0) @binding(8) var<storage, read_write> dv: array<part>; // as v

var<workgroup> p_tile: array<vec4<f32>, WORKGROUP>; // [QUERIES, QUADS]
var<workgroup> ds_tile: array<vec4<f32>, WORKGROUP>;

fn key_value(key: u32, c: u32) -> f32 {
    return f32(k[key_row(min(key, params.keys - 1u)) * params.depth + c]);
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
    let tile = tile_gradients(lane, params.keys);
    p_tile[lane] = tile.p;
    ds_tile[lane] = tile.ds;
    workgroupBarrier();

    for (var i = lane; i < params.queries * params.depth; i += WORKGROUP) {
        let query = i / params.depth;
        let c = i % params.depth;
        var sum = 0.0;
        for (var key = 0u; key < params.keys; key += 4u) {
            let values = vec4(key_value(key, c), key_value(key + 1u, c), key_value(key + 2u, c), key_value(key + 3u, c));
            sum += dot(ds_tile[query * QUADS + key / 4u], values);
        }
        dq[query_row(query) * params.depth + c] = elem(sum);
    }
    let quads = (params.keys + 3u) / 4u;
    for (var i = lane; i < quads * params.depth; i += WORKGROUP) {
        let quad = i / params.depth;
        let c = i % params.depth;
        var sum = vec4<f32>();
        for (var query = 0u; query < params.queries; query++) {
            sum += ds_tile[query * QUADS + quad] * f32(q[query_row(query) * params.depth + c]);
        }
        for (var at = 0u; at < 4u; at++) { // unroll
            if 4u * quad + at < params.keys {
                dk[key_row(4u * quad + at) * params.depth + c] = part(sum[at]);
            }
        }
    }
    for (var i = lane; i < quads * params.width; i += WORKGROUP) {
        let quad = i / params.width;
        let c = i % params.width;
        var sum = vec4<f32>();
        for (var query = 0u; query < params.queries; query++) {
            sum += p_tile[query * QUADS + quad] * f32(dy[query_row(query) * params.width + c]);
        }
        for (var at = 0u; at < 4u; at++) { // unroll
            if 4u * quad + at < params.keys {
                dv[key_row(4u * quad + at) * params.width + c] = part(sum[at]);
            }
        }
    }
}
