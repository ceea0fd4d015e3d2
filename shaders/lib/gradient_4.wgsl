// Writes a gradient of qkv four channels at a time.
// not with pack_1
fn store_number(at: u32, number: f32) {
    dqkv[at / 4u][at % 4u] = elem(number);
}
// A strip of channels from `at` on, all of which are there.
fn store_strip(at: u32, sums: vec4<f32>, left: u32) {
    dqkv[at / 4u] = elem4(sums);
}
