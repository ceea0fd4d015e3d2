// mean = (sum + g) share, and sum = 0, whatever it was. One lane an element, or four.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params { count: u32, share: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<elems>;
@group(0) @binding(2) var<storage, read_write> sum: array<floats>;
@group(0) @binding(3) var<storage, read_write> mean: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        mean[at] = elems((sum[at] + floats(g[at])) * params.share);
        sum[at] = floats(0.0);
    }
}
