// g' = factor g + weight_decay w; v = momentum v + g'; w = w - rate (g' + momentum v, with Nesterov's momentum; v, without).
// One lane an element, or four; w and velocity are updated in place, and stay as they are where the factor is 0.
// Without a factor its binding holds the rate, unread.
// needs descent
// needs index
// constants WORKGROUP=256 SCALED=1

struct Params { count: u32, momentum: f32, weight_decay: f32, nesterov: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<elems>;
@group(0) @binding(2) var<storage, read> rate: array<f32>;
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read_write> w: array<elems>;
@group(0) @binding(5) var<storage, read_write> velocity: array<floats>;

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
    var slope = floats(g[at]);
    if SCALED == 1u {
        if factor[0] == 0.0 {
            return;
        }
        slope *= factor[0];
    }
    let rule = Descent(params.momentum, params.weight_decay, params.nesterov != 0u, rate[0]);
    let moved = descend(rule, floats(w[at]), slope, velocity[at]);
    w[at] = elems(moved.w);
    velocity[at] = moved.velocity;
}
