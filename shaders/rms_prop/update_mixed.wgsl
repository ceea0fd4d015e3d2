// g' = factor g + weight_decay w; square = decay square + rest g' g'; w moves along g' / sqrt(square), as lib/rms_prop has it. copied = w.
// g and copied hold what the forward pass computes with. One lane an element, or four; nothing changes where the factor is 0.
// needs rms_prop
// needs index
// constants WORKGROUP=256

struct Params { count: u32, decay: f32, rest: f32, momentum: f32, weight_decay: f32, epsilon: f32, tensorflow: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<elems>;
@group(0) @binding(2) var<storage, read> rate: array<f32>;
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read_write> w: array<floats>;
@group(0) @binding(5) var<storage, read_write> square: array<floats>;
@group(0) @binding(6) var<storage, read_write> velocity: array<floats>;
@group(0) @binding(7) var<storage, read_write> copied: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.count || factor[0] == 0.0 {
        return;
    }
    let made = moved(w[at], factor[0] * floats(g[at]), square[at], velocity[at], rate[0]);
    w[at] = made.w;
    square[at] = made.square;
    velocity[at] = made.velocity;
    copied[at] = elems(made.w);
}
