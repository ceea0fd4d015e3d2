// A lane works on one element: for rows whose length is no multiple of 4.
// needs elem_f32 | elem_f16
alias elems = elem;
alias floats = f32;
alias words = u32;
alias flags = bool;
fn total(value: floats) -> f32 {
    return value;
}
fn peak(value: floats) -> f32 {
    return value;
}
