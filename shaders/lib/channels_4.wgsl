// Neighboring channels as a lane takes them: four, loaded and stored at once.
// needs elem_f32 | elem_f16
alias loaded = elem4;
alias numbers = vec4<f32>;

fn numbers_of(value: loaded) -> numbers {
    return numbers(value);
}
// Without what is not there: zero, whatever was read in its place.
fn only(there: bool, value: loaded) -> loaded {
    return select(elem4(), value, there);
}
fn product(one: numbers, other: numbers) -> f32 {
    return dot(one, other);
}

// How they are stored.
alias stored = elem4;
const STORES: u32 = 1u;
fn stored_of(value: numbers, at: u32) -> stored {
    return elem4(value);
}
