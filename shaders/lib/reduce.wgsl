// Sums and maxima over the lanes of a workgroup: a tree, so that the order never changes and results repeat bitwise.
// constants WORKGROUP=256
var<workgroup> partial: array<f32, WORKGROUP>;

// Every lane must call, in uniform control flow; every lane gets the sum.
fn workgroup_sum(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier(); // partial is reused by the next call
    return total;
}

// Every lane must call, in uniform control flow; every lane gets the largest.
fn workgroup_max(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    let largest = partial[0];
    workgroupBarrier(); // partial is reused by the next call
    return largest;
}
