// How buffers are read: an element at a time, for rows whose length is no multiple of 4.
alias pack = elem;
const PACK: u32 = 1u;
const PACKS: u32 = 4u; // in a strip

fn with_pack(strip: elem4, at: u32, value: pack) -> elem4 {
    var result = strip;
    result[at] = value;
    return result;
}
fn pack_of(strip: vec4<f32>, at: u32) -> pack {
    return elem(strip[at]);
}

// The same for sums that stay f32.
alias sum_pack = f32;
fn sum_pack_of(strip: vec4<f32>, at: u32) -> sum_pack {
    return strip[at];
}
