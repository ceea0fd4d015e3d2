// Writes a gradient of qkv a number at a time: for heads whose channels are no multiple of 4.
// not with pack_4
fn store_number(at: u32, number: f32) {
    dqkv[at] = elem(number);
}
// A strip of channels from `at` on, of which `left` are there.
fn store_strip(at: u32, sums: vec4<f32>, left: u32) {
    for (var i = 0u; i < 4u; i++) { // unroll
        if i < left {
            dqkv[at + i] = elem(sums[i]);
        }
    }
}
