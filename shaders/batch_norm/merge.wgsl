// mean = origin + block means united, inv_std = 1 / sqrt(m2 / rows + eps); running = running + momentum (batch - running).
// A workgroup takes a strip of channels; its lanes walk down the blocks. The running averages are updated in place.
// ORIGIN = 0: block means are the means themselves, and the binding of origin holds them, unread.
// needs moments
// constants ORIGIN=1

struct Params { rows: u32, columns: u32, blocks: u32, rows_each: u32, eps: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> origin: array<floats>;
@group(0) @binding(2) var<storage, read> block_mean: array<floats>;
@group(0) @binding(3) var<storage, read> block_m2: array<floats>;
@group(0) @binding(4) var<storage, read_write> mean: array<floats>;
@group(0) @binding(5) var<storage, read_write> inv_std: array<floats>;
@group(0) @binding(6) var<storage, read_write> running_mean: array<floats>;
@group(0) @binding(7) var<storage, read_write> running_variance: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var own = Moments();
    if column < params.columns {
        for (var block = lane / STRIP; block < params.blocks; block += ROW_LANES) {
            let count = min(params.rows_each, params.rows - block * params.rows_each);
            let at = block * params.columns + column;
            own = united(own, Moments(f32(count), block_mean[at], block_m2[at]));
        }
    }
    let all = strip_moments(own, lane);
    if lane < STRIP && column < params.columns {
        let rows = f32(params.rows);
        // The average of variances is kept unbiased. One row has none: its m2 is 0, and so is what is kept.
        let unbiased = all.m2 / max(rows - 1.0, 1.0);
        let center = select(floats(), origin[column], ORIGIN == 1u) + all.mean;
        mean[column] = center;
        inv_std[column] = 1.0 / sqrt(all.m2 / rows + params.eps);
        running_mean[column] += params.momentum * (center - running_mean[column]);
        running_variance[column] += params.momentum * (unbiased - running_variance[column]);
    }
}
