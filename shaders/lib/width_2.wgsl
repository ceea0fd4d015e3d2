// A lane works on two elements side by side: for rows of an even length that is no multiple of 4.
// needs elem_f32 | elem_f16
alias elems = vec2<elem>;
alias floats = vec2<f32>;
alias words = vec2<u32>;
alias flags = vec2<bool>;
// Where an element is, and which those are that are there.
fn strip_of(element: u32) -> u32 {
    return element / 2u;
}
fn elements_of(strip: u32) -> words {
    return vec2(2u * strip) + vec2(0u, 1u);
}
fn total(value: floats) -> f32 {
    return value.x + value.y;
}
fn peak(value: floats) -> f32 {
    return max(value.x, value.y);
}
