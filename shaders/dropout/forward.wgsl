// y = x scale where an element is kept, and 0 elsewhere: it is where a hash of its number and the seed is not below `threshold`.
// needs flat
// needs hash

struct Params { strips: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> seed: array<u32>; // [4], 16 bits each
@group(0) @binding(3) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_strip(group, groups, lane);
    let low = seed[0] | (seed[1] << 16u);
    let high = seed[2] | (seed[3] << 16u);
    var xs: array<elems, AT_ONCE>;
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        xs[i] = x[min(first + i * WORKGROUP, params.strips - 1u)];
    }
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = first + i * WORKGROUP;
        if at < params.strips {
            let is_kept = hash(elements_of(at), words(low), words(high)) >= words(params.threshold);
            y[at] = elems(select(floats(), floats(xs[i]) * params.scale, is_kept));
        }
    }
}
