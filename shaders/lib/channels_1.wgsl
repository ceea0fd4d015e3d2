// Neighboring channels as a lane takes them: one, for groups whose channels are no multiple of 4.
// needs elem_f32 | elem_f16
alias loaded = elem;
alias numbers = f32;

fn numbers_of(value: loaded) -> numbers {
    return f32(value);
}
// Without what is not there: zero, whatever was read in its place.
fn only(there: bool, value: loaded) -> loaded {
    return select(elem(0.0), value, there);
}
fn product(one: numbers, other: numbers) -> f32 {
    return one * other;
}

// How they are stored.
alias stored = elem;
const STORES: u32 = 1u;
fn stored_of(value: numbers, at: u32) -> stored {
    return elem(value);
}
