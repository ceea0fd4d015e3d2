// rows = (log_sum, sum over c of dy y): the two numbers of a query that its gradients need, side by side.
// ROW_LANES lanes a query of an (image, head).
// needs elem_f32 | elem_f16
// needs index
// needs row_reduce

struct Params { batch: u32, queries: u32, heads: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<elem>; // [batch, queries, heads, width]
@group(0) @binding(2) var<storage, read> dy: array<elem>;
@group(0) @binding(3) var<storage, read> log_sum: array<f32>; // [batch, heads, queries]
@group(0) @binding(4) var<storage, read_write> rows: array<f32>; // [batch, queries, heads, 2]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    let exists = row < params.batch * params.queries * params.heads;
    var sum = 0.0;
    if exists {
        for (var c = lane % ROW_LANES; c < params.width; c += ROW_LANES) {
            sum += f32(dy[row * params.width + c]) * f32(y[row * params.width + c]);
        }
    }
    let total = row_sum(sum, lane);
    if exists && lane % ROW_LANES == 0u {
        let head = row % params.heads;
        let query = row / params.heads % params.queries;
        let image = row / (params.heads * params.queries);
        rows[2u * row] = log_sum[(image * params.heads + head) * params.queries + query];
        rows[2u * row + 1u] = total;
    }
}
