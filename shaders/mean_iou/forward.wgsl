// iou_k = counts_kk / (counts of label k + counts of prediction k - counts_kk), 0 for a class that no label has; mean over the others.
// One workgroup; a lane takes classes by turns.
// needs reduce

struct Params { classes: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counts: array<u32>; // [label, prediction]
@group(0) @binding(2) var<storage, read_write> iou: array<f32>;
@group(0) @binding(3) var<storage, read_write> mean: array<f32>; // [1]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    var present = 0.0;
    for (var k = lane; k < params.classes; k += WORKGROUP) {
        var labeled = 0u;
        var predicted = 0u;
        for (var other = 0u; other < params.classes; other++) {
            labeled += counts[k * params.classes + other];
            predicted += counts[other * params.classes + k];
        }
        let both = counts[k * params.classes + k];
        var share = 0.0;
        if labeled > 0u {
            share = f32(both) / f32(labeled + (predicted - both));
            sum += share;
            present += 1.0;
        }
        iou[k] = share;
    }
    sum = workgroup_sum(sum, lane);
    present = workgroup_sum(present, lane);
    if lane == 0u {
        mean[0] = sum / max(present, 1.0);
    }
}
