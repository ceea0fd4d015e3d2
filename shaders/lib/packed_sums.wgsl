// What a product writes: four elements at a time.
alias pack = elem4;
const PACK: u32 = 4u;
const PACKS: u32 = 1u; // of four sums
fn pack_of(sums: vec4<f32>, at: u32) -> pack {
    return elem4(sums);
}

fn with_pack(four: elem4, at: u32, value: pack) -> elem4 {
    return value;
}

// The same for numbers that stay f32.
alias sum_pack = vec4<f32>;
fn sum_pack_of(sums: vec4<f32>, at: u32) -> sum_pack {
    return sums;
}
fn with_sum_pack(sums: vec4<f32>, at: u32, value: sum_pack) -> vec4<f32> {
    return value;
}
