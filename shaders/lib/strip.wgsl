// A workgroup as a strip of columns: STRIP lanes side by side over them, WORKGROUP / STRIP down the rows; both are powers of two.
// needs width_1 | width_4
// constants WORKGROUP=256 STRIP=32
const ROW_LANES: u32 = WORKGROUP / STRIP;
var<workgroup> strip_partial: array<floats, WORKGROUP>;

// Every lane must call, in uniform control flow; every lane gets the sum over the lanes of its column. The order never changes.
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
