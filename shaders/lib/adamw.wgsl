// The rule of AdamW, for what a lane works on at once; its numbers are the kernel's params.
// needs width_1 | width_4
struct Moved { w: floats, first: floats, second: floats }

fn moved(w: floats, g: floats, first: floats, second: floats, rate: f32, corrected: vec2<f32>) -> Moved {
    let m = params.beta_1 * first + params.rest_1 * g;
    let v = params.beta_2 * second + params.rest_2 * g * g;
    let step = (m / corrected.x) / (sqrt(v / corrected.y) + params.epsilon);
    return Moved(w - rate * params.weight_decay * w - rate * step, m, v);
}
