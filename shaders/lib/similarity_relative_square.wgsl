// How alike two numbers are: -(q - k)^2 / (|q k| + 1); and the slopes of that, where sign(0) = 0.
fn similarity(q: f32, k: f32) -> f32 {
    return -(q - k) * (q - k) / (abs(q * k) + 1.0);
}
fn slope_of_q(q: f32, k: f32) -> f32 {
    let size = abs(q * k) + 1.0;
    return (k - q) * (2.0 + (k - q) * sign(q) * abs(k) / size) / size;
}
fn slope_of_k(q: f32, k: f32) -> f32 {
    return slope_of_q(k, q);
}
