// How alike two numbers are: -|q - k|; and the slopes of that, 0 where both are equal.
fn similarity(q: f32, k: f32) -> f32 {
    return -abs(q - k);
}
fn slope_of_q(q: f32, k: f32) -> f32 {
    return sign(k - q);
}
fn slope_of_k(q: f32, k: f32) -> f32 {
    return sign(q - k);
}
