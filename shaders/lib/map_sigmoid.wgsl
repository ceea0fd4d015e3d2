// Sigmoid: f(x) = 1 / (1 + exp(-x)), and its derivative f (1 - f).
fn f(x: floats) -> floats {
    return 1.0 / (1.0 + exp(-x));
}
fn df(x: floats) -> floats {
    let y = f(x);
    return y * (1.0 - y);
}
