// y = exp(x - max) / sum of exp(x - max), along the last axis. ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs index
// needs row_reduce

struct Params { rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let start = min(row, params.rows - 1u) * params.cols;
    let first = lane % ROW_LANES;
    var largest = f32(x[start]);
    for (var c = first; c < params.cols; c += ROW_LANES) {
        largest = max(largest, f32(x[start + c]));
    }
    largest = row_max(largest, lane);
    var sum = 0.0;
    for (var c = first; c < params.cols; c += ROW_LANES) {
        sum += exp(f32(x[start + c]) - largest);
    }
    sum = row_sum(sum, lane);
    if row < params.rows {
        for (var c = first; c < params.cols; c += ROW_LANES) {
            y[start + c] = elem(exp(f32(x[start + c]) - largest) / sum);
        }
    }
}
