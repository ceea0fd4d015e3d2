// Numbers as their bits: compilers may take it that no float is a NaN, and NaNs are what is looked for. A word holds a number, or
// two where HALVES is 1; of U32 (FLOATS is 0) there is no sign.
// constants FLOATS=1 HALVES=0
fn number_bits(word: u32, half: u32) -> u32 {
    return select(word, (word >> (16u * half)) & 0xffffu, HALVES == 1u);
}

// Without the sign.
fn magnitude(bits: u32) -> u32 {
    let mask = select(0x7fffffffu, 0x7fffu, HALVES == 1u);
    return select(bits, bits & mask, FLOATS == 1u);
}

// One 0 instead of two.
fn same_zero(bits: u32) -> u32 {
    return select(bits, 0u, magnitude(bits) == 0u);
}

// Neither infinite nor a NaN.
fn finite(bits: u32) -> bool {
    return FLOATS == 0u || magnitude(bits) < select(0x7f800000u, 0x7c00u, HALVES == 1u);
}

fn number_of(bits: u32) -> f32 {
    return select(bitcast<f32>(bits), unpack2x16float(bits).x, HALVES == 1u);
}
