// first = beta_1 first + rest_1 factor g; second = beta_2 second + rest_2 (factor g)^2; w moves along first / sqrt(second), as lib/adamw has it.
// One lane an element, or four; nothing changes where the factor is 0. Without a factor its binding holds the rate, unread.
// needs adamw
// needs index
// constants WORKGROUP=256 SCALED=1

struct Params { count: u32, beta_1: f32, beta_2: f32, rest_1: f32, rest_2: f32, weight_decay: f32, epsilon: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<elems>;
@group(0) @binding(2) var<storage, read> rate: array<f32>;
@group(0) @binding(3) var<storage, read> correction: array<f32>;
@group(0) @binding(4) var<storage, read> factor: array<f32>;
@group(0) @binding(5) var<storage, read_write> w: array<elems>;
@group(0) @binding(6) var<storage, read_write> first: array<floats>;
@group(0) @binding(7) var<storage, read_write> second: array<floats>;

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
    let made = moved(floats(w[at]), slope, first[at], second[at], rate[0], vec2(correction[0], correction[1]));
    w[at] = elems(made.w);
    first[at] = made.first;
    second[at] = made.second;
}
