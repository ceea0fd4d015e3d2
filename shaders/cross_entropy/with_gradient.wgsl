// row_loss = ln(sum_k exp(logits_k)) - logits_label; dlogits = seed (exp(logits - ln(sum_k exp(logits_k))) - [k = label]) / rows.
// A workgroup takes a row, its lanes stride over the classes: what the loss read of memory is near when its gradient reads it.
// Without a seed that is 1, and its binding holds the labels, unread.
// needs elem_f32 | elem_f16
// needs log_sum
// needs index
// constants WORKGROUP=256 SEEDED=1

struct Params { rows: u32, classes: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elem>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> seed: array<f32>;
@group(0) @binding(4) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<elem>;

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
    let label = labels[row];
    let unknown = bitcast<f32>(label | 0x7fc00000u); // NaN: a label that is no class must be seen
    if lane == 0u {
        row_loss[row] = unknown;
        if label < params.classes {
            row_loss[row] = log_of_row - f32(logits[start + label]);
        }
    }
    var factor = 1.0;
    if SEEDED == 1u {
        factor = seed[0];
    }
    for (var k = lane; k < params.classes; k += WORKGROUP) {
        var slope = exp(f32(logits[start + k]) - log_of_row) - select(0.0, 1.0, k == label);
        if label >= params.classes {
            slope = unknown;
        }
        dlogits[start + k] = elem(factor * slope / f32(params.rows));
    }
}
