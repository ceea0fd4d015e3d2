// What a copy moves: 32 bits, whatever they mean. As integers, so that no number is flushed or quieted on the way.
alias bits = u32;
