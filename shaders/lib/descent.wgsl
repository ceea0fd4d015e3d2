// The rule of SGD, for what a lane works on at once.
// needs width_1 | width_4
struct Descent { momentum: f32, weight_decay: f32, nesterov: bool, rate: f32 }
struct Moved { w: floats, velocity: floats }

fn descend(rule: Descent, w: floats, g: floats, velocity: floats) -> Moved {
    let slope = g + rule.weight_decay * w;
    let v = rule.momentum * velocity + slope;
    return Moved(w - rule.rate * select(v, slope + rule.momentum * v, rule.nesterov), v);
}
