// A lane works on one element: for rows whose length is no multiple of 4.
// needs elem_f32 | elem_f16
alias elems = elem;
alias floats = f32;
alias words = u32;
alias flags = bool;
// Where an element is, and which those are that are there.
fn strip_of(element: u32) -> u32 {
    return element;
}
fn elements_of(strip: u32) -> words {
    return strip;
}
fn total(value: floats) -> f32 {
    return value;
}
fn peak(value: floats) -> f32 {
    return value;
}
