// y[i] = sum over p of parts_of_y[p, i], in the order of p. One lane an element of y.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { count: u32, parts: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts_of_y: array<f32>; // [parts, count]
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // [count]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        var sum = parts_of_y[at];
        for (var i = 1u; i < params.parts; i++) {
            sum += parts_of_y[i * params.count + at];
        }
        y[at] = elem(sum);
    }
}
