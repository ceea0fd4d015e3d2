// What tensors hold: 16-bit floats. Sums stay f32.
enable f16;
alias elem = f16;
alias elem4 = vec4<f16>;

// Numbers as elements hold them. A driver was seen to take `vec4<f32>(elem4(numbers))` for the numbers, and what was packed and
// unpacked, too: unless between the two stands something of which only we know that it is 0.
fn held(numbers: vec4<f32>, nothing: u32) -> vec4<f32> {
    return vec4(unpack2x16float(pack2x16float(numbers.xy) | nothing), unpack2x16float(pack2x16float(numbers.zw) | nothing));
}
