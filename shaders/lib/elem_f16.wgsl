// What tensors hold: 16-bit floats. Sums stay f32.
enable f16;
alias elem = f16;
alias elem4 = vec4<f16>;

// Numbers as elements hold them. By way of their bits: a driver was seen to take `vec4<f32>(elem4(numbers))` for the numbers.
fn held(numbers: vec4<f32>) -> vec4<f32> {
    return vec4(unpack2x16float(pack2x16float(numbers.xy)), unpack2x16float(pack2x16float(numbers.zw)));
}
