// dk = dS^T q and dv = P^T dy, with dS = scale P (dy v^T - rowsum(dy y)). Any number of queries, keys and channels.
// One workgroup KEYS keys of an (image, head) and `split` queries, which it meets QUERIES at a time; neighboring lanes
// take neighboring channels, each of them four keys or more.
// needs elem_f32 | elem_f16
// needs part_elem | part_f32
// needs index
// needs attend_gradients
// constants CHANNEL_LANES=64 CHANNELS=1

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, split: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read> dy: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(5) var<storage, read> rows: array<f32>; // [batch, queries, heads, 2], or if WHOLE log_sum [batch, heads, queries]
@group(0) @binding(6) var<storage, read_write> dk: array<part>; // [splits, batch, keys, heads, depth]
@group(0) @binding(7) var<storage, read_write> dv: array<part>; // [splits, batch, keys, heads, width]

const QUAD_STEP: u32 = WORKGROUP / CHANNEL_LANES;
const LANE_QUADS: u32 = (QUADS + QUAD_STEP - 1u) / QUAD_STEP;
const STRIP: u32 = CHANNEL_LANES * CHANNELS;

var<workgroup> p_tile: array<vec4<f32>, WORKGROUP>; // [QUERIES, QUADS]
var<workgroup> ds_tile: array<vec4<f32>, WORKGROUP>;
var<private> dk_sums: array<vec4<f32>, LANE_QUADS * CHANNELS>;
var<private> dv_sums: array<vec4<f32>, LANE_QUADS * CHANNELS>;

// Adds the tile's queries from `first` on to the sums of channels from c on.
fn add_queries(first: u32, count: u32, c: u32, lane: u32) {
    for (var query = 0u; query < count; query++) {
        let row = query_row(first + query);
        var asked: array<f32, CHANNELS>;
        var wanted: array<f32, CHANNELS>;
        for (var j = 0u; j < CHANNELS; j++) { // unroll
            asked[j] = f32(q[row * params.depth + min(c + j * CHANNEL_LANES, params.depth - 1u)]);
            wanted[j] = f32(dy[row * params.width + min(c + j * CHANNEL_LANES, params.width - 1u)]);
        }
        for (var r = 0u; r < LANE_QUADS; r++) { // unroll
            let at = query * QUADS + min(lane / CHANNEL_LANES + r * QUAD_STEP, QUADS - 1u);
            let ds = ds_tile[at];
            let p = p_tile[at];
            for (var j = 0u; j < CHANNELS; j++) { // unroll
                dk_sums[r * CHANNELS + j] += ds * asked[j];
                dv_sums[r * CHANNELS + j] += p * wanted[j];
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (params.keys + KEYS - 1u) / KEYS;
    let splits = (params.queries + params.split - 1u) / params.split;
    let number = folded(group, groups);
    if number >= tiles * params.heads * splits * params.batch {
        return;
    }
    first_key = number % tiles * KEYS;
    head = number / tiles % params.heads;
    let part_number = number / (tiles * params.heads) % splits;
    image = number / (tiles * params.heads * splits);
    let begin = part_number * params.split;
    let end = min(begin + params.split, params.queries);
    let parts_before = part_number * params.batch * params.keys * params.heads;

    for (var strip = 0u; strip < max(params.depth, params.width); strip += STRIP) {
        let c = strip + lane % CHANNEL_LANES;
        for (var at = 0u; at < LANE_QUADS * CHANNELS; at++) { // unroll
            dk_sums[at] = vec4<f32>();
            dv_sums[at] = vec4<f32>();
        }
        for (var first = begin; first < end; first += QUERIES) {
            first_query = first;
            // With queries enough for one tile only, the weights of the first strip serve the others.
            if strip == 0u || end - begin > QUERIES {
                let tile = tile_gradients(lane, params.keys);
                p_tile[lane] = tile.p;
                ds_tile[lane] = tile.ds;
                workgroupBarrier();
            }
            add_queries(first, min(QUERIES, end - first), c, lane);
        }
        for (var r = 0u; r < LANE_QUADS; r++) { // unroll
            let quad = lane / CHANNEL_LANES + r * QUAD_STEP;
            for (var i = 0u; i < 4u; i++) { // unroll
                let key = first_key + 4u * quad + i;
                let row = parts_before + key_row(key);
                for (var j = 0u; j < CHANNELS; j++) { // unroll
                    let to = c + j * CHANNEL_LANES;
                    // `&`: as `&&`, a branch, these took SwiftShader more than 10 GB (see lib/gemm).
                    if (quad < QUADS) & (key < params.keys) & (to < params.depth) {
                        dk[row * params.depth + to] = part(dk_sums[r * CHANNELS + j][i]);
                    }
                    if (quad < QUADS) & (key < params.keys) & (to < params.width) {
                        dv[row * params.width + to] = part(dv_sums[r * CHANNELS + j][i]);
                    }
                }
            }
        }
    }
}
