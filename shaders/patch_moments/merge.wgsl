// covariance = products / pixels - off offᵀ, mean = origin + off, off = sums / pixels: what patches are off the origin on average.
// One lane an element of the covariance, or of the mean behind it. Slices are added in order, so that results repeat bitwise.
// needs index
// constants WORKGROUP=256

struct Params { depth: u32, channels: u32, slices: u32, pixels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>; // [slices, depth + 1, depth]
@group(0) @binding(2) var<storage, read> origin: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read_write> mean: array<f32>; // [depth]
@group(0) @binding(4) var<storage, read_write> covariance: array<f32>; // [depth, depth]

fn average(row: u32, column: u32) -> f32 {
    var sum = 0.0;
    for (var slice = 0u; slice < params.slices; slice++) {
        sum += partial[(slice * (params.depth + 1u) + row) * params.depth + column];
    }
    return sum / f32(params.pixels);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    let row = at / params.depth;
    let column = at % params.depth;
    if row < params.depth {
        let off = average(params.depth, row) * average(params.depth, column);
        covariance[at] = average(row, column) - off;
    } else if row == params.depth {
        mean[column] = origin[column % params.channels] + average(params.depth, column);
    }
}
