// y[n, 0, c] = the largest of the blocks, index[n, c] = its row, y[n, 1, c] = sum over blocks of block_sum / rows.
// A workgroup takes a strip of channels (x) of an image (z); its lanes walk down the blocks.
// needs strip_sum
// needs first_largest

struct Params { rows: u32, blocks: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_largest: array<floats>; // [images, blocks, columns]
@group(0) @binding(2) var<storage, read> block_row: array<words>;
@group(0) @binding(3) var<storage, read> block_sum: array<floats>;
@group(0) @binding(4) var<storage, read_write> y: array<elems>;
@group(0) @binding(5) var<storage, read_write> index: array<words>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let there = min(column, params.columns - 1u);
    var sum = floats();
    var largest = Largest(floats(), words(NOWHERE));
    for (var block = lane / STRIP; block < params.blocks; block += ROW_LANES) {
        let at = (group.z * params.blocks + block) * params.columns + there;
        sum += block_sum[at];
        largest = larger(largest, Largest(block_largest[at], block_row[at]));
    }
    sum = strip_sum(sum, lane);
    largest = first_largest(largest, lane, lane / STRIP, ROW_LANES, STRIP);
    if lane < STRIP && column < params.columns {
        y[2u * group.z * params.columns + column] = elems(largest.value);
        y[(2u * group.z + 1u) * params.columns + column] = elems(sum / f32(params.rows));
        index[group.z * params.columns + column] = largest.place;
    }
}
