// Neighboring channels as a lane takes them: eight 16-bit floats, as the 16 bytes that it can load at once. naga has no bitcast
// to f16. A matrix is what WGSL can add and scale of eight numbers.
// needs elem_f16
// not with elem_f32
alias loaded = vec4<u32>;
alias numbers = mat2x4<f32>;

fn numbers_of(value: loaded) -> numbers {
    return numbers(
        vec4(unpack2x16float(value.x), unpack2x16float(value.y)),
        vec4(unpack2x16float(value.z), unpack2x16float(value.w)),
    );
}
// Without what is not there: zero, whatever was read in its place.
fn only(there: bool, value: loaded) -> loaded {
    return select(vec4<u32>(), value, there);
}
fn product(one: numbers, other: numbers) -> f32 {
    return dot(one[0], other[0]) + dot(one[1], other[1]);
}

// How they are stored: in two halves, rounded as every element is.
alias stored = elem4;
const STORES: u32 = 2u;
fn stored_of(value: numbers, at: u32) -> stored {
    return elem4(select(value[0], value[1], at == 1u));
}
