// Where each row of `logits` is largest, of equals the first; of NaN and what is below LOWEST none is larger. ROW_LANES lanes a row.
// needs rows

const LOWEST: f32 = -3.0e38;

// By the bits: compilers may assume that no number is NaN.
fn known(x: floats) -> floats {
    let is_nan = (bitcast<words>(x) & words(0x7fffffffu)) > words(0x7f800000u);
    return select(max(x, floats(LOWEST)), floats(LOWEST), is_nan);
}

// Every lane must call, in uniform control flow; every lane gets its row's.
fn class_of_row(row: u32, lane: u32) -> u32 {
    let first = lane % ROW_LANES;
    var largest = floats(LOWEST);
    var best = elements_of(first); // where a lane saw it first: no row has more lanes than strips
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            let value = known(floats(logits[strip_at(row, start, i)])); // past the end the last one, again
            let better = value > largest;
            best = select(best, elements_of(min(start + i * ROW_LANES, params.columns - 1u)), better);
            largest = select(largest, value, better);
        }
    }
    let top = row_max(peak(largest), lane);
    // The first: whoever has most classes from it on. Exact, as far as f32 counts.
    let behind = select(floats(), floats(words(params.classes) - best), largest == floats(top));
    return params.classes - u32(row_max(peak(behind), lane));
}
