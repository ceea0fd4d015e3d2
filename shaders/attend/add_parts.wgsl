// y[i] = sum over p of parts_of_y[first + p count + i], in the order of p; with TWO = 1 also of more_parts, from `second` on.
// One lane an element of y.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256 TWO=0

struct Params { count: u32, parts: u32, first: u32, second: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts_of_y: array<f32>; // from `first` on [parts, count]
@group(0) @binding(2) var<storage, read> more_parts: array<f32>; // from `second` on [parts, count]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [count]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        var sum = parts_of_y[params.first + at];
        for (var i = 1u; i < params.parts; i++) {
            sum += parts_of_y[params.first + i * params.count + at];
        }
        for (var i = 0u; i < TWO * params.parts; i++) {
            sum += more_parts[params.second + i * params.count + at];
        }
        y[at] = elem(sum);
    }
}
