// Where nothing was found: factor = 1 / scale, and after `interval` such steps in a row the scale grows.
// Else: factor = 0, the scale shrinks, and the step counts as skipped. One workgroup.
// needs reduce

struct Params { shares: u32, interval: u32, growth: f32, backoff: f32, most: f32, least: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> found: array<f32>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> steps: array<f32>;
@group(0) @binding(5) var<storage, read_write> skipped: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var worst = 0.0;
    for (var share = lane; share < params.shares; share += WORKGROUP) {
        worst = max(worst, found[share]);
    }
    worst = workgroup_max(worst, lane);
    if lane == 0u {
        let old = scale[0];
        if worst == 0.0 {
            let row = steps[0] + 1.0;
            let grows = row >= f32(params.interval);
            factor[0] = 1.0 / old;
            scale[0] = select(old, min(old * params.growth, params.most), grows);
            steps[0] = select(row, 0.0, grows);
        } else {
            factor[0] = 0.0;
            scale[0] = max(old * params.backoff, params.least);
            steps[0] = 0.0;
            skipped[0] += 1.0;
        }
    }
}
