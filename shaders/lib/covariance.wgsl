// What a patch's numbers have to do with a sum of them. The kernel binds weight[rows, columns], covariance[rows, rows] and
// params.rows, params.columns.

// (covariance · weight)[row, column]. The covariance is symmetric: its lower half is read.
fn covaries(row: u32, column: u32) -> f32 {
    var sum = 0.0;
    for (var other = 0u; other < params.rows; other++) {
        let known = covariance[max(row, other) * params.rows + min(row, other)];
        sum += known * f32(weight[other * params.columns + column]);
    }
    return sum;
}
