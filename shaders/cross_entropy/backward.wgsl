// dlogits = dloss (exp(logits - log_sum) - [k = label]) / counted, and 0 where the label is to be ignored. If none is, all rows are
// counted, and the binding of `counted` holds the labels, unread. [k = label] is smoothed with 1 / classes; `SMOOTHING` is the bits of
// an f32. One lane an element.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256 IGNORES=0 SMOOTHING=0

struct Params { rows: u32, classes: u32, ignored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elem>; // [rows, classes]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> counted: array<u32>; // [1]
@group(0) @binding(4) var<storage, read> log_sum: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read> dloss: array<f32>; // [1]
@group(0) @binding(6) var<storage, read_write> dlogits: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.rows * params.classes {
        let row = at / params.classes;
        let k = at % params.classes;
        let label = labels[row];
        var share = 0.0; // of each class that is not the label
        if SMOOTHING != 0u {
            share = bitcast<f32>(SMOOTHING) / f32(params.classes);
        }
        let hit = 1.0 - bitcast<f32>(SMOOTHING) + share;
        var slope = exp(f32(logits[at]) - log_sum[row]) - select(share, hit, k == label);
        if label >= params.classes {
            slope = bitcast<f32>(label | 0x7fc00000u); // NaN, as the loss
        }
        var divisor = f32(params.rows);
        if IGNORES == 1u {
            divisor = f32(counted[0]); // 0, where nobody asks
        }
        let ignored = IGNORES == 1u && label == params.ignored;
        dlogits[at] = elem(select(dloss[0] * slope / divisor, 0.0, ignored));
    }
}
