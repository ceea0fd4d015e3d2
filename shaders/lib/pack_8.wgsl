// How a product's tensors are read: eight 16-bit floats at a time, as the 16 bytes that a lane can load at once. Rows are
// multiples of 8 long, so a strip is inside or outside as a whole.
// needs packed_sums
// not with elem_f32 tile_scalar
alias strip = vec4<u32>; // of a factor
const STRIP: u32 = 8u;
alias factor = vec4<u32>;
const FACTOR: u32 = 8u;
const FACTORS: u32 = 1u; // in a strip

fn with_factor(eight: strip, at: u32, value: factor) -> strip {
    return value;
}

// A strip as workgroup memory holds it. naga has no bitcast to f16; to f32 and back changes no number, and compilers see it.
struct Kept { lo: elem4, hi: elem4 }
fn kept(eight: strip) -> Kept {
    return Kept(
        elem4(vec4(unpack2x16float(eight.x), unpack2x16float(eight.y))),
        elem4(vec4(unpack2x16float(eight.z), unpack2x16float(eight.w))),
    );
}
