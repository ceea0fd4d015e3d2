// Moments of the columns of a product: its engine tallies four of them over the rows that a lane stores, then over all of a block.
// What a column holds stands near its first number, from which sums and squares are taken: not from zero, where they would cancel.
const TALLY: u32 = 1u;

struct Tally { rows: f32, origin: vec4<f32>, sum: vec4<f32>, squares: vec4<f32> }

// With so many rows more, of this mean and of this sum of squared deviations from it.
fn with_rows(known: Tally, rows: f32, mean: vec4<f32>, m2: vec4<f32>) -> Tally {
    let origin = select(known.origin, mean, known.rows == 0.0);
    let off = mean - origin;
    return Tally(known.rows + rows, origin, known.sum + rows * off, known.squares + m2 + rows * off * off);
}
// With a row more, if it is inside: as it is stored. Where a column is constant, all of a rounding would be deviation.
// The kernel's nothing() is 0, by a parameter.
fn with_row(known: Tally, inside: bool, sums: vec4<f32>) -> Tally {
    return with_rows(known, select(0.0, 1.0, inside), held(sums, nothing()), vec4<f32>());
}

fn mean_of(known: Tally) -> vec4<f32> {
    return known.origin + known.sum / max(known.rows, 1.0);
}
fn m2_of(known: Tally) -> vec4<f32> {
    return max(known.squares - known.sum * (known.sum / max(known.rows, 1.0)), vec4<f32>());
}
