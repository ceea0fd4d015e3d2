// total = sum over slices of partial, in order, so that results repeat bitwise; of each slice count numbers from the first on.
// One lane an element.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { count: u32, slices: u32, first: u32, apart: u32 } // apart: numbers in a slice
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>; // [slices, apart]
@group(0) @binding(2) var<storage, read_write> total: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        var sum = 0.0;
        for (var slice = 0u; slice < params.slices; slice++) {
            sum += partial[slice * params.apart + params.first + at];
        }
        total[at] = elem(sum);
    }
}
