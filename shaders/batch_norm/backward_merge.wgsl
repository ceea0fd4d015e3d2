// dgain = sum_block block_dgain, dbias = sum_block block_dbias; and what `backward_x` needs of a channel:
// scale = gain inv_std, shift = scale dbias / rows, tilt = scale inv_std dgain / rows.
// A workgroup takes a strip of channels; its lanes walk down the blocks.
// needs strip_sum

struct Params { blocks: u32, columns: u32, rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_dgain: array<floats>;
@group(0) @binding(2) var<storage, read> block_dbias: array<floats>;
@group(0) @binding(3) var<storage, read> gain: array<floats>;
@group(0) @binding(4) var<storage, read> mean: array<floats>;
@group(0) @binding(5) var<storage, read> inv_std: array<floats>;
@group(0) @binding(6) var<storage, read_write> dgain: array<floats>;
@group(0) @binding(7) var<storage, read_write> dbias: array<floats>;
@group(0) @binding(8) var<storage, read_write> slopes: array<floats>; // [mean, scale, shift, tilt][columns]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var gain_sum = floats();
    var bias_sum = floats();
    if column < params.columns {
        for (var block = lane / STRIP; block < params.blocks; block += ROW_LANES) {
            let at = block * params.columns + column;
            gain_sum += block_dgain[at];
            bias_sum += block_dbias[at];
        }
    }
    gain_sum = strip_sum(gain_sum, lane);
    bias_sum = strip_sum(bias_sum, lane);
    if lane < STRIP && column < params.columns {
        dgain[column] = gain_sum;
        dbias[column] = bias_sum;
        let rows = f32(params.rows);
        slopes[column] = mean[column];
        // One row is its own mean: y does not move when it does, not even by a rounding.
        let scale = select(gain[column] * inv_std[column], floats(), params.rows == 1u);
        slopes[params.columns + column] = scale;
        slopes[2u * params.columns + column] = scale * bias_sum / rows;
        slopes[3u * params.columns + column] = scale * inv_std[column] * gain_sum / rows;
    }
}
