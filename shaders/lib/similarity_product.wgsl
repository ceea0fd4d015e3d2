// How alike two numbers are: q k; and the slopes of that.
fn similarity(q: f32, k: f32) -> f32 {
    return q * k;
}
fn slope_of_q(q: f32, k: f32) -> f32 {
    return k;
}
fn slope_of_k(q: f32, k: f32) -> f32 {
    return q;
}
