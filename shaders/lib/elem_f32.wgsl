// What tensors hold: 32-bit floats.
alias elem = f32;
alias elem4 = vec4<f32>;
