// What tensors hold: 16-bit floats. Sums stay f32.
enable f16;
alias elem = f16;
alias elem4 = vec4<f16>;
