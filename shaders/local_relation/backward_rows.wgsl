// rows = (log_sum log2(e), sum over c of dy y): the two numbers of a group that its gradients need, side by side.
// One lane a pixel's group.
// needs width_1 | width_4
// needs index
// constants STRIPS=1 WORKGROUP=256

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_sum: array<f32>; // [count]
@group(0) @binding(2) var<storage, read> y: array<elems>; // [count, STRIPS]
@group(0) @binding(3) var<storage, read> dy: array<elems>;
@group(0) @binding(4) var<storage, read_write> rows: array<vec2<f32>>; // [count]

const LOG2_E: f32 = 1.4426950408889634;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.count {
        return;
    }
    var sum = 0.0;
    for (var s = 0u; s < STRIPS; s++) { // unroll
        sum += total(floats(dy[at * STRIPS + s]) * floats(y[at * STRIPS + s]));
    }
    rows[at] = vec2(LOG2_E * log_sum[at], sum);
}
