// What a copy moves: 16 bytes, the most that a lane loads at once, whatever they mean.
alias bits = vec4<u32>;
