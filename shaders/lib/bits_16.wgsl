// What a copy moves: 16 bits. WGSL has no 16-bit integer that every machine knows.
enable f16;
alias bits = f16;
