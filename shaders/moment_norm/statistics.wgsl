// mean = weightᵀ · patch_mean, variance = the diagonal of weightᵀ · covariance · weight, inv_std = 1 / sqrt(variance + eps); running =
// running + momentum (batch - running). A workgroup takes a strip of columns; its lanes walk down the rows.
// needs width_1
// needs strip_sum
// needs covariance

struct Params { rows: u32, columns: u32, patches: u32, eps: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<elem>; // [rows, columns]
@group(0) @binding(2) var<storage, read> patch_mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> covariance: array<f32>; // [rows, rows]
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> inv_std: array<f32>;
@group(0) @binding(6) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(7) var<storage, read_write> running_variance: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var center = 0.0;
    var variance = 0.0;
    if column < params.columns {
        for (var row = lane / STRIP; row < params.rows; row += ROW_LANES) {
            let number = f32(weight[row * params.columns + column]);
            center += number * patch_mean[row];
            variance += number * covaries(row, column);
        }
    }
    center = strip_sum(center, lane);
    variance = max(strip_sum(variance, lane), 0.0); // it may round to less
    if lane < STRIP && column < params.columns {
        let patches = f32(params.patches);
        // The average of variances is kept unbiased, as batch_norm keeps it.
        let unbiased = variance * (patches / max(patches - 1.0, 1.0));
        mean[column] = center;
        inv_std[column] = 1.0 / sqrt(variance + params.eps);
        running_mean[column] += params.momentum * (center - running_mean[column]);
        running_variance[column] += params.momentum * (unbiased - running_variance[column]);
    }
}
