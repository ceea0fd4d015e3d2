// The logarithm of a sum of exponentials over each row of `logits`, and what a row loses by its label. The largest is taken out first, so
// that no exponential overflows.
// needs rows
// constants IGNORES=0 SMOOTHING=0

alias Row = array<floats, HELD>;

fn load_row(held: ptr<function, Row>, row: u32, start: u32) {
    for (var i = 0u; i < HELD; i++) { // unroll
        (*held)[i] = floats(logits[strip_at(row, start, i)]); // past the end the last one, again
    }
}

// Every lane must call, in uniform control flow; every lane gets its row's, and has in `held` what it loaded last.
fn log_of_sum(held: ptr<function, Row>, row: u32, lane: u32) -> f32 {
    let first = lane % ROW_LANES;
    // Every lane starts from a number of the row, so that no infinity has to be written.
    var largest = floats(logits[strip_at(row, first, 0u)]);
    for (var start = first; start < params.columns; start += CHUNK) {
        load_row(held, row, start);
        for (var i = 0u; i < HELD; i++) { // unroll
            largest = max(largest, (*held)[i]);
        }
    }
    let top = row_max(peak(largest), lane);
    var sums = floats();
    for (var start = first; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            load_row(held, row, start);
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            sums += select(floats(), exp((*held)[i] - top), flags(is_inside(start, i)));
        }
    }
    return top + log(row_sum(total(sums), lane));
}

// The mean of `log_of_row` - logit over a row; 0 unread without smoothing. Called as log_of_sum is, after it.
fn spread_of(held: ptr<function, Row>, row: u32, lane: u32, log_of_row: f32) -> f32 {
    if SMOOTHING == 0u {
        return 0.0;
    }
    var sums = floats();
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            load_row(held, row, start);
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            sums += select(floats(), log_of_row - (*held)[i], flags(is_inside(start, i)));
        }
    }
    return row_sum(total(sums), lane) / f32(params.classes);
}

fn is_ignored(label: u32) -> bool {
    return IGNORES == 1u && label == params.ignored;
}

// `SMOOTHING` is the bits of an f32.
fn loss_of(row: u32, label: u32, log_of_row: f32, spread: f32) -> f32 {
    var loss = bitcast<f32>(label | 0x7fc00000u); // NaN: a label that is no class must be seen in the loss
    if label < params.classes {
        let strip = strip_of(label);
        let logit = select(floats(), floats(logits[row * params.columns + strip]), elements_of(strip) == words(label));
        loss = log_of_row - total(logit);
        if SMOOTHING != 0u {
            let smoothing = bitcast<f32>(SMOOTHING);
            loss = (1.0 - smoothing) * loss + smoothing * spread;
        }
    }
    return select(loss, 0.0, is_ignored(label));
}
