// A lane works on four elements side by side, loaded and stored at once.
// needs elem_f32 | elem_f16
alias elems = elem4;
alias floats = vec4<f32>;
alias words = vec4<u32>;
alias flags = vec4<bool>;
// Where an element is, and which those are that are there.
fn strip_of(element: u32) -> u32 {
    return element / 4u;
}
fn elements_of(strip: u32) -> words {
    return vec4(4u * strip) + vec4(0u, 1u, 2u, 3u);
}
fn total(value: floats) -> f32 {
    return value.x + value.y + value.z + value.w;
}
fn peak(value: floats) -> f32 {
    return max(max(value.x, value.y), max(value.z, value.w));
}
