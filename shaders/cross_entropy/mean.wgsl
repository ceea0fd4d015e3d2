// loss = sum_row row_loss / rows. One workgroup, its lanes stride over the rows.
// needs reduce

struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row_loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < params.rows; row += WORKGROUP) {
        sum += row_loss[row];
    }
    sum = workgroup_sum(sum, lane);
    if lane == 0u {
        loss[0] = sum / f32(params.rows);
    }
}
