// How alike two numbers are: -(q - k)^2; and the slopes of that.
fn similarity(q: f32, k: f32) -> f32 {
    return -(q - k) * (q - k);
}
fn slope_of_q(q: f32, k: f32) -> f32 {
    return 2.0 * (k - q);
}
fn slope_of_k(q: f32, k: f32) -> f32 {
    return 2.0 * (q - k);
}
