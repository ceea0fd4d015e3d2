// dx[i] = sum over t of dy[t, i], in the order of t. One lane an element of dx.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { each: u32, times: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<elem>; // [times, each]
@group(0) @binding(2) var<storage, read_write> dx: array<elem>; // [each]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.each {
        var sum = 0.0;
        for (var i = 0u; i < params.times; i++) {
            sum += f32(dy[i * params.each + at]);
        }
        dx[at] = elem(sum);
    }
}
