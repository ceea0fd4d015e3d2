// What tensors hold: 16-bit floats. Sums stay f32.
enable f16;
alias elem = f16;
alias elem4 = vec4<f16>;

// Numbers as elements hold them. A driver was seen to take `vec4<f32>(elem4(numbers))` for the numbers, and so what was packed and
// unpacked. This function may flush what f16 holds as subnormal: that stays as it is, off by 2^-25 at most.
fn held(numbers: vec4<f32>) -> vec4<f32> {
    return select(quantizeToF16(numbers), numbers, abs(numbers) < vec4(0x1p-14f));
}
