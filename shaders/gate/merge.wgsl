// dgate[n, c] = f'(gate[n, c]) sum over blocks of block_sum[n, block, c].
// A workgroup takes a strip of channels (x) of an image (z); its lanes walk down the blocks.
// needs map_relu | map_sigmoid | map_gelu
// needs strip_sum

struct Params { blocks: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_sum: array<floats>; // [images, blocks, columns]
@group(0) @binding(2) var<storage, read> gate: array<elems>; // [images, columns]
@group(0) @binding(3) var<storage, read_write> dgate: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let there = min(column, params.columns - 1u);
    var sum = floats();
    for (var block = lane / STRIP; block < params.blocks; block += ROW_LANES) {
        sum += block_sum[(group.z * params.blocks + block) * params.columns + there];
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP && column < params.columns {
        let at = group.z * params.columns + column;
        dgate[at] = elems(df(floats(gate[at])) * sum);
    }
}
