// log_sum = ln(sum_k exp(logits_k)); row_loss = log_sum - logits_label.
// A workgroup takes a row, its lanes stride over the classes.
// needs elem_f32 | elem_f16
// needs log_sum
// needs index

struct Params { rows: u32, classes: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elem>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = folded(group, groups);
    if row >= params.rows {
        return;
    }
    let start = row * params.classes;
    let log_of_row = log_of_sum(start, lane);
    if lane == 0u {
        let label = labels[row];
        var loss = bitcast<f32>(label | 0x7fc00000u); // NaN: a label that is no class must be seen in the loss
        if label < params.classes {
            loss = log_of_row - f32(logits[start + label]);
        }
        log_sum[row] = log_of_row;
        row_loss[row] = loss;
    }
}
