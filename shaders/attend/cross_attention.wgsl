// y = f(softmax over keys(q k^T scale) v + shortcut), f and shortcut if RELU and SHORTCUT = 1; log_sum = max + ln sum of exp. Many queries (pixels), at most KEYS keys (tokens).
// One workgroup QUERIES queries of an (image, head); their weights stand whole in workgroup memory.
// needs elem_f32 | elem_f16
// needs index
// needs attend_place
// needs attend_softmax
// needs attend_sums
// constants SHORTCUT=0 RELU=0

struct Params { batch: u32, queries: u32, keys: u32, heads: u32, depth: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<elem>; // [batch, queries, heads, depth]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [batch, keys, heads, depth]
@group(0) @binding(3) var<storage, read> v: array<elem>; // [batch, keys, heads, width]
@group(0) @binding(4) var<storage, read> shortcut: array<elem>; // as y; without, q
@group(0) @binding(5) var<storage, read_write> y: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(6) var<storage, read_write> log_sum: array<f32>; // [batch, heads, queries]

fn load_left(product: u32, row: u32, c: u32) -> f32 {
    let query = first_query + row;
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
    return f32(v[key_row(min(key, params.keys - 1u)) * params.width + min(c, params.width - 1u)]);
}
fn load_values(quad: u32, c: u32) -> vec4<f32> {
    let key = 4u * quad;
    return vec4(value(key, c), value(key + 1u, c), value(key + 2u, c), value(key + 3u, c));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let number = folded(group, groups);
    if number >= tiles * params.heads * params.batch {
        return;
    }
    first_query = number % tiles * QUERIES;
    head = number / tiles % params.heads;
    image = number / (tiles * params.heads);
    let query = first_query + lane / QUADS;
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
    for (var strip = 0u; strip < params.width; strip += STRIP) {
        clear_sums();
        add_values(strip, (params.keys + 3u) / 4u, lane);
        for (var r = 0u; r < ROWS; r++) { // unroll
            let row = first_query + sums_row(lane) + r * ROW_STEP;
            for (var j = 0u; j < CHANNELS; j++) { // unroll
                let c = strip + sums_channel(lane) + j * CHANNEL_LANES;
                if row < params.queries && c < params.width {
                    let at = query_row(row) * params.width + c;
                    var sum = sums[r * CHANNELS + j];
                    if SHORTCUT == 1u {
                        sum += f32(shortcut[at]);
                    }
                    y[at] = elem(select(sum, max(sum, 0.0), RELU == 1u));
                }
            }
        }
    }
}
