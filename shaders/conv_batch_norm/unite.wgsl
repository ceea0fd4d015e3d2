// group_mean, group_m2 = those of blocks of rows united, blocks_each to a group.
// A workgroup takes a group of blocks and a strip of channels; its lanes walk down the blocks.
// needs moments

struct Params { rows: u32, columns: u32, blocks: u32, rows_each: u32, blocks_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_mean: array<floats>;
@group(0) @binding(2) var<storage, read> block_m2: array<floats>;
@group(0) @binding(3) var<storage, read_write> group_mean: array<floats>;
@group(0) @binding(4) var<storage, read_write> group_m2: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.blocks_each;
    let end = min(start + params.blocks_each, params.blocks);
    var own = Moments();
    if column < params.columns {
        for (var block = start + lane / STRIP; block < end; block += ROWS_AT_ONCE) {
            var means: array<floats, AT_ONCE>;
            var m2s: array<floats, AT_ONCE>;
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                let at = min(block + i * ROW_LANES, end - 1u) * params.columns + column;
                means[i] = block_mean[at];
                m2s[i] = block_m2[at];
            }
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                let first = (block + i * ROW_LANES) * params.rows_each;
                if block + i * ROW_LANES < end {
                    let count = min(params.rows_each, params.rows - first);
                    own = united(own, Moments(f32(count), means[i], m2s[i]));
                }
            }
        }
    }
    let all = strip_moments(own, lane);
    if lane < STRIP && column < params.columns {
        let at = group.y * params.columns + column;
        group_mean[at] = all.mean;
        group_m2[at] = all.m2;
    }
}
