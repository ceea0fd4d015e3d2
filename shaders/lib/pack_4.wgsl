// How a product's tensors are read and written: four elements at a time. Rows are multiples of 4 long, so a strip is inside
// or outside as a whole.
// needs packed_sums
alias strip = elem4; // of a factor
const STRIP: u32 = 4u;
alias factor = elem4;
const FACTOR: u32 = 4u;
const FACTORS: u32 = 1u; // in a strip

fn with_factor(four: strip, at: u32, value: factor) -> strip {
    return value;
}

// A strip as workgroup memory holds it.
struct Kept { lo: elem4 }
fn kept(four: strip) -> Kept {
    return Kept(four);
}
