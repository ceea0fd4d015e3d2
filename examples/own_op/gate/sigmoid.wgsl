// How far a gate is open: the sigmoid of one number, or of four side by side.
// needs width_1 | width_4
fn opening(s: floats) -> floats {
    return 1.0 / (1.0 + exp(-s));
}
