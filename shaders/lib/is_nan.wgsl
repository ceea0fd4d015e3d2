// Whether numbers are NaN. By the bits: compilers may assume that none is.
// needs width_1 | width_4
fn is_nan(value: floats) -> flags {
    return (bitcast<words>(value) & words(0x7fffffffu)) > words(0x7f800000u);
}
