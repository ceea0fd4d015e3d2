// dshortcut = dy where y > 0, and 0 elsewhere; dx = dshortcut factor, an image's factor standing in the column of its row that is this
// block's. `image` strips of a row are an image's.
// needs map_relu
// needs flat

struct Params { strips: u32, image: u32, blocks: u32, block: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<elems>;
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read> survival: array<f32>; // [images, blocks]
@group(0) @binding(4) var<storage, read_write> dx: array<elems>;
@group(0) @binding(5) var<storage, read_write> dshortcut: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_strip(group, groups, lane);
    var ys: array<elems, AT_ONCE>;
    var dys: array<elems, AT_ONCE>;
    var factors: array<f32, AT_ONCE>;
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = min(first + i * WORKGROUP, params.strips - 1u);
        ys[i] = y[at];
        dys[i] = dy[at];
        factors[i] = survival[at / params.image * params.blocks + params.block];
    }
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = first + i * WORKGROUP;
        if at < params.strips {
            let slope = floats(dys[i]) * df(floats(ys[i]));
            dx[at] = elems(slope * factors[i]);
            dshortcut[at] = elems(slope);
        }
    }
}
