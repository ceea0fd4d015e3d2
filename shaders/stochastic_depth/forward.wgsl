// y = r(x factor + shortcut), where r is ReLU or nothing; an image has one factor, which stands in the column of its row that is this
// block's. Without a shortcut its binding holds x, unread. `image` strips of a row are an image's.
// needs flat
// constants RELU=1 SHORTCUT=1

struct Params { strips: u32, image: u32, blocks: u32, block: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> survival: array<f32>; // [images, blocks]
@group(0) @binding(3) var<storage, read> shortcut: array<elems>;
@group(0) @binding(4) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_strip(group, groups, lane);
    var xs: array<elems, AT_ONCE>;
    var shortcuts: array<elems, AT_ONCE>; // zeros, where there is none
    var factors: array<f32, AT_ONCE>;
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = min(first + i * WORKGROUP, params.strips - 1u);
        xs[i] = x[at];
        if SHORTCUT == 1u {
            shortcuts[i] = shortcut[at];
        }
        factors[i] = survival[at / params.image * params.blocks + params.block];
    }
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = first + i * WORKGROUP;
        if at < params.strips {
            let z = floats(xs[i]) * factors[i] + floats(shortcuts[i]);
            y[at] = elems(select(z, max(z, floats()), RELU == 1u));
        }
    }
}
