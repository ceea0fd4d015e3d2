// What a copy moves: 128 bits, of whatever they are: as many as a lane can load at once.
alias bits = vec4<u32>;
