// What tensors hold: 32-bit floats.
alias elem = f32;
alias elem4 = vec4<f32>;

// Numbers as elements hold them.
fn held(numbers: vec4<f32>, nothing: u32) -> vec4<f32> {
    return numbers;
}
