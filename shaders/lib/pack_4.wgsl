// How buffers are read: four elements at a time. Rows are multiples of 4 long, so a strip is inside or outside as a whole.
alias pack = elem4;
const PACK: u32 = 4u;
const PACKS: u32 = 1u; // in a strip

fn with_pack(strip: elem4, at: u32, value: pack) -> elem4 {
    return value;
}
fn pack_of(strip: vec4<f32>, at: u32) -> pack {
    return elem4(strip);
}

// The same for sums that stay f32.
alias sum_pack = vec4<f32>;
fn sum_pack_of(strip: vec4<f32>, at: u32) -> sum_pack {
    return strip;
}
