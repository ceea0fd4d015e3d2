// y = f(x).
// needs map_relu | map_sigmoid | map_gelu
// needs flat

struct Params { strips: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_strip(group, groups, lane);
    var xs: array<elems, AT_ONCE>;
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = min(first + i * WORKGROUP, params.strips - 1u);
        xs[i] = x[at];
    }
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = first + i * WORKGROUP;
        if at < params.strips {
            y[at] = elems(f(floats(xs[i])));
        }
    }
}
