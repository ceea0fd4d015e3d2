// y = sum over parts of exp(part_log_sum - log_sum) part_y; log_sum = ln sum over parts of exp(part_log_sum).
// Joins what workgroups made of separate ranges of keys. One lane an element of y.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { batch: u32, queries: u32, heads: u32, width: u32, parts: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part_y: array<f32>; // [parts, batch, queries, heads, width]
@group(0) @binding(2) var<storage, read> part_log_sum: array<f32>; // [parts, batch, heads, queries]
@group(0) @binding(3) var<storage, read_write> y: array<elem>;
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    let rows = params.batch * params.queries * params.heads;
    if at >= rows * params.width {
        return;
    }
    let c = at % params.width;
    let head = at / params.width % params.heads;
    let query = at / (params.width * params.heads) % params.queries;
    let image = at / (params.width * params.heads * params.queries);
    let row = (image * params.heads + head) * params.queries + query;
    var largest = part_log_sum[row];
    for (var i = 1u; i < params.parts; i++) {
        largest = max(largest, part_log_sum[i * rows + row]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var i = 0u; i < params.parts; i++) {
        let weight = exp(part_log_sum[i * rows + row] - largest);
        total += weight;
        sum += weight * part_y[i * rows * params.width + at];
    }
    y[at] = elem(sum / total);
    if c == 0u {
        log_sum[row] = largest + log(total);
    }
}
