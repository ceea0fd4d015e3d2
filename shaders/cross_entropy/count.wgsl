// How many rows count, each workgroup's of the numbers that are its by turns: FIRST = 1 labels that are not to be ignored, then such counts.
// constants WORKGROUP=256 FIRST=1

struct Params { count: u32, ignored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> numbers: array<u32>; // [count]
@group(0) @binding(2) var<storage, read_write> counted: array<u32>; // [workgroups]

var<workgroup> partial: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var own = 0u;
    for (var i = group.x * WORKGROUP + lane; i < params.count; i += groups.x * WORKGROUP) {
        own += select(numbers[i], u32(numbers[i] != params.ignored), FIRST == 1u);
    }
    partial[lane] = own;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        counted[group.x] = partial[0];
    }
}
