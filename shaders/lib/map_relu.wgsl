// ReLU: f(x) = max(x, 0), and its derivative (0 at 0).
fn f(x: floats) -> floats {
    return max(x, floats());
}
fn df(x: floats) -> floats {
    return select(floats(), floats(1.0), x > floats());
}
