// The rule of RMSProp, for what a lane works on at once; its numbers are the kernel's params.
// needs width_1 | width_4
struct Moved { w: floats, square: floats, velocity: floats }

fn moved(w: floats, g: floats, square: floats, velocity: floats, rate: f32) -> Moved {
    let slope = g + params.weight_decay * w;
    let mean = params.decay * square + params.rest * slope * slope;
    if params.tensorflow != 0u {
        let v = params.momentum * velocity + rate * slope / sqrt(mean + params.epsilon);
        return Moved(w - v, mean, v);
    }
    let v = params.momentum * velocity + slope / (sqrt(mean) + params.epsilon);
    return Moved(w - rate * v, mean, v);
}
