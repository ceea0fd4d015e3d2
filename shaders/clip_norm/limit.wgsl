// clipped = factor min(1, limit / norm), norm = factor sqrt(sum of squares). One workgroup.
// needs reduce

struct Params { shares: u32, limit: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> clipped: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var share = lane; share < params.shares; share += WORKGROUP) {
        sum += squares[share];
    }
    sum = workgroup_sum(sum, lane);
    if lane == 0u {
        let norm = factor[0] * sqrt(sum);
        // Not by min: a norm of 0 divides nothing, and where it is no number the update is to show that.
        if norm > params.limit {
            clipped[0] = factor[0] * (params.limit / norm);
        } else {
            clipped[0] = factor[0];
        }
    }
}
