// dgain = dscale · inv_std, dscale = sum over rows of dscaled · weight - dshift · mean; slopes = scale, and 2 dvariance = -dscale gain inv_std³.
// A workgroup takes a strip of columns; its lanes walk down the rows.
// needs width_1
// needs strip_sum

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<elem>; // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<f32>; // [columns], as the following
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> inv_std: array<f32>;
@group(0) @binding(5) var<storage, read> dscaled: array<elem>; // [rows, columns]
@group(0) @binding(6) var<storage, read> dshift: array<f32>;
@group(0) @binding(7) var<storage, read_write> dgain: array<f32>;
@group(0) @binding(8) var<storage, read_write> slopes: array<f32>; // [2, columns]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var dscale = 0.0;
    if column < params.columns {
        for (var row = lane / STRIP; row < params.rows; row += ROW_LANES) {
            let at = row * params.columns + column;
            dscale += f32(dscaled[at]) * f32(weight[at]);
        }
    }
    dscale = strip_sum(dscale, lane);
    if lane < STRIP && column < params.columns {
        dscale -= dshift[column] * mean[column];
        let spread = inv_std[column];
        let scale = gain[column] * spread;
        dgain[column] = dscale * spread;
        slopes[column] = scale;
        slopes[params.columns + column] = -dscale * scale * spread * spread;
    }
}
