// Sums of losses, each workgroup's of the numbers that are its by turns; LAST = 1, one workgroup: loss = their sum / counted rows.
// If none is ignored all rows are counted, and the binding of `counted` holds the losses, unread.
// needs reduce
// constants LAST=1 IGNORES=0

struct Params { count: u32, rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>; // [count]
@group(0) @binding(2) var<storage, read> counted: array<u32>; // [1]
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [workgroups]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = 0.0;
    for (var i = group.x * WORKGROUP + lane; i < params.count; i += groups.x * WORKGROUP) {
        sum += losses[i];
    }
    sum = workgroup_sum(sum, lane);
    if lane == 0u {
        var divisor = 1.0;
        if LAST == 1u {
            divisor = f32(params.rows);
            if IGNORES == 1u {
                divisor = f32(max(counted[0], 1u));
            }
        }
        sums[group.x] = sum / divisor;
    }
}
