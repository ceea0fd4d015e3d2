// log_sum = ln(sum_k exp(logits_k)); row_loss = log_sum - logits_label, smoothed with the mean of log_sum - logits, and 0 where the label
// is to be ignored. ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs log_sum

struct Params { rows: u32, columns: u32, classes: u32, ignored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    var held: Row;
    let log_of_row = log_of_sum(&held, row, lane);
    let spread = spread_of(&held, row, lane, log_of_row);
    if own < params.rows && lane % ROW_LANES == 0u {
        log_sum[row] = log_of_row;
        row_loss[row] = loss_of(row, labels[row], log_of_row, spread);
    }
}
