// What a copy moves: 64 bits, of whatever they are.
alias bits = vec2<u32>;
