// Sums over the lanes of each column of a strip: a tree, so that the order never changes and results repeat bitwise.
// needs strip
var<workgroup> strip_partial: array<floats, WORKGROUP>;

// Every lane must call, in uniform control flow; every lane gets the sum over the lanes of its column.
fn strip_sum(value: floats, lane: u32) -> floats {
    workgroupBarrier(); // the call before may still be read
    strip_partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half >= STRIP; half /= 2u) {
        if lane < half {
            strip_partial[lane] += strip_partial[lane + half];
        }
        workgroupBarrier();
    }
    return strip_partial[lane % STRIP];
}
