// mean = the block means of a group's channels united, inv_std = 1 / sqrt(m2 / elements + eps): a number a channel, alike in a group.
// A workgroup takes a group (x) of an image (y); its lanes walk over the blocks and channels.
// needs moments

struct Params { rows: u32, columns: u32, blocks: u32, rows_each: u32, channels: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> origin: array<floats>; // [images, columns]: what the block means are measured from
@group(0) @binding(2) var<storage, read> block_mean: array<floats>; // [images, blocks, columns]
@group(0) @binding(3) var<storage, read> block_m2: array<floats>;
@group(0) @binding(4) var<storage, read_write> mean: array<floats>; // [images, columns]
@group(0) @binding(5) var<storage, read_write> inv_std: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * params.channels;
    let of_image = group.y * params.columns + first;
    // All are measured from the first channel's: differences keep the digits that numbers far from zero have not.
    let shared_origin = origin[of_image];
    var own = Moments();
    for (var i = lane; i < params.blocks * params.channels; i += WORKGROUP) {
        let block = i / params.channels;
        let channel = i % params.channels;
        let count = min(params.rows_each, params.rows - block * params.rows_each);
        let at = (group.y * params.blocks + block) * params.columns + first + channel;
        let center = (origin[of_image + channel] - shared_origin) + block_mean[at];
        own = united(own, Moments(f32(count), center, block_m2[at]));
    }
    let all = strip_moments(own, lane);
    let scale = 1.0 / sqrt(all.m2 / (f32(params.rows) * f32(params.channels)) + params.eps);
    for (var i = lane; i < params.channels; i += WORKGROUP) {
        mean[of_image + i] = shared_origin + all.mean;
        inv_std[of_image + i] = scale;
    }
}
