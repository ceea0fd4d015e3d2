// dx = y (dy - sum of dy y), along the last axis. ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs index
// needs row_reduce

struct Params { rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<elem>; // [rows, cols]
@group(0) @binding(2) var<storage, read> dy: array<elem>;
@group(0) @binding(3) var<storage, read_write> dx: array<elem>;

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
    var sum = 0.0;
    for (var c = first; c < params.cols; c += ROW_LANES) {
        sum += f32(dy[start + c]) * f32(y[start + c]);
    }
    sum = row_sum(sum, lane);
    if row < params.rows {
        for (var c = first; c < params.cols; c += ROW_LANES) {
            dx[start + c] = elem(f32(y[start + c]) * (f32(dy[start + c]) - sum));
        }
    }
}
