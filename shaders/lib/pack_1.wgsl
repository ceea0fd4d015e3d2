// How a product's tensors are read and written: an element at a time, for rows whose length is no multiple of 4.
alias strip = elem4; // of a factor
const STRIP: u32 = 4u;
alias factor = elem;
const FACTOR: u32 = 1u;
const FACTORS: u32 = 4u; // in a strip

fn with_factor(four: strip, at: u32, value: factor) -> strip {
    var result = four;
    result[at] = value;
    return result;
}

// A strip as workgroup memory holds it.
struct Kept { lo: elem4 }
fn kept(four: strip) -> Kept {
    return Kept(four);
}

// What is written, of four sums at a time; and numbers that stay f32.
alias pack = elem;
const PACK: u32 = 1u;
const PACKS: u32 = 4u;
fn pack_of(sums: vec4<f32>, at: u32) -> pack {
    return elem(sums[at]);
}
fn with_pack(four: elem4, at: u32, value: pack) -> elem4 {
    var result = four;
    result[at] = value;
    return result;
}
alias sum_pack = f32;
fn sum_pack_of(sums: vec4<f32>, at: u32) -> sum_pack {
    return sums[at];
}
fn with_sum_pack(sums: vec4<f32>, at: u32, value: sum_pack) -> vec4<f32> {
    var result = sums;
    result[at] = value;
    return result;
}
