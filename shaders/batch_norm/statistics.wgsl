// Mean and m2 (sum of squared deviations) of each channel over a block of rows.
// A workgroup takes a block of rows and a strip of channels; its lanes walk down the rows.
// needs moments

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> block_mean: array<floats>;
@group(0) @binding(3) var<storage, read_write> block_m2: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var own = Moments();
    if column < params.columns {
        for (var row = start + lane / STRIP; row < end; row += ROW_LANES) {
            own = with_one(own, floats(x[row * params.columns + column]));
        }
    }
    let all = strip_moments(own, lane);
    if lane < STRIP && column < params.columns {
        let at = group.y * params.columns + column;
        block_mean[at] = all.mean;
        block_m2[at] = all.m2;
    }
}
