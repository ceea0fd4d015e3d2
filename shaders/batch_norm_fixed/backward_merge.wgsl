// dgain = sum_block block_dgain, dbias = sum_block block_dbias.
// A workgroup takes a strip of channels (x) of a set of blocks (z); its lanes walk down the blocks.
// needs strip_sum

struct Params { blocks: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_dgain: array<floats>; // [sets, blocks, columns]
@group(0) @binding(2) var<storage, read> block_dbias: array<floats>;
@group(0) @binding(3) var<storage, read_write> dgain: array<floats>; // [sets, columns]
@group(0) @binding(4) var<storage, read_write> dbias: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var gain_sum = floats();
    var bias_sum = floats();
    if column < params.columns {
        for (var block = lane / STRIP; block < params.blocks; block += ROW_LANES) {
            let at = (group.z * params.blocks + block) * params.columns + column;
            gain_sum += block_dgain[at];
            bias_sum += block_dbias[at];
        }
    }
    gain_sum = strip_sum(gain_sum, lane);
    bias_sum = strip_sum(bias_sum, lane);
    if lane < STRIP && column < params.columns {
        dgain[group.z * params.columns + column] = gain_sum;
        dbias[group.z * params.columns + column] = bias_sum;
    }
}
