// g' = g + weight_decay w; v = momentum v + g'; w = w - rate (g' + momentum v, with Nesterov's momentum; v, without).
// One lane an element, or four; w and velocity are updated in place.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params { count: u32, momentum: f32, weight_decay: f32, nesterov: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<elems>;
@group(0) @binding(2) var<storage, read> rate: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<elems>;
@group(0) @binding(4) var<storage, read_write> velocity: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let old = floats(w[at]);
        let slope = floats(g[at]) + params.weight_decay * old;
        let v = params.momentum * velocity[at] + slope;
        var step = v;
        if params.nesterov != 0u {
            step = slope + params.momentum * v;
        }
        velocity[at] = v;
        w[at] = elems(old - rate[0] * step);
    }
}
