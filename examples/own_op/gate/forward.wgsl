// y[n, p, c] = x[n, p, c] sigmoid(s[n, c]). One lane an element, or four.
// needs sigmoid
// needs index
// constants WORKGROUP=256

struct Params { count: u32, each: u32, columns: u32 } // each: elements of an image
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> s: array<elems>;
@group(0) @binding(3) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let gate = at / params.each * params.columns + at % params.columns;
        y[at] = elems(floats(x[at]) * opening(floats(s[gate])));
    }
}
