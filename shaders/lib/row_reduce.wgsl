// Sums and maxima over the ROW_LANES neighboring lanes that share a row: several short rows a workgroup.
// A tree, so that the order never changes and results repeat bitwise.
// constants WORKGROUP=256 ROW_LANES=32
const ROWS_AT_ONCE: u32 = WORKGROUP / ROW_LANES;
var<workgroup> row_partial: array<f32, WORKGROUP>;

// Every lane must call, in uniform control flow; every lane gets its row's sum.
fn row_sum(value: f32, lane: u32) -> f32 {
    row_partial[lane] = value;
    workgroupBarrier();
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
        if lane % ROW_LANES < half {
            row_partial[lane] += row_partial[lane + half];
        }
        workgroupBarrier();
    }
    let total = row_partial[lane / ROW_LANES * ROW_LANES];
    workgroupBarrier(); // row_partial is reused by the next call
    return total;
}

// Every lane must call, in uniform control flow; every lane gets its row's largest.
fn row_max(value: f32, lane: u32) -> f32 {
    row_partial[lane] = value;
    workgroupBarrier();
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
        if lane % ROW_LANES < half {
            row_partial[lane] = max(row_partial[lane], row_partial[lane + half]);
        }
        workgroupBarrier();
    }
    let largest = row_partial[lane / ROW_LANES * ROW_LANES];
    workgroupBarrier(); // row_partial is reused by the next call
    return largest;
}
