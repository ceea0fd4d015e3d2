// ReLU: f(x) = max(x, 0), and its derivative (0 at 0).
fn f(x: f32) -> f32 {
    return max(x, 0.0);
}
fn df(x: f32) -> f32 {
    return select(0.0, 1.0, x > 0.0);
}
