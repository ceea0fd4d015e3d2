// correction = beta correction + 1 - beta, of both betas; as it is where the factor is 0.
// One workgroup, of which two lanes work.
// constants WORKGROUP=256

struct Params { beta_1: f32, beta_2: f32, rest_1: f32, rest_2: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> factor: array<f32>;
@group(0) @binding(2) var<storage, read_write> correction: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane >= 2u || factor[0] == 0.0 {
        return;
    }
    let second = lane == 1u;
    let kept = select(params.beta_1, params.beta_2, second) * correction[lane];
    correction[lane] = kept + select(params.rest_1, params.rest_2, second);
}
