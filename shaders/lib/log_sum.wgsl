// The logarithm of a sum of exponentials, over a row of `logits` of `params.classes` numbers from `start` on. A workgroup takes the
// row, its lanes stride over it; the largest is taken out first, so that no exponential overflows.
// needs reduce
// needs elem_f32 | elem_f16

// Every lane must call, in uniform control flow; every lane gets it.
fn log_of_sum(start: u32, lane: u32) -> f32 {
    // Every lane starts from a number of the row, so that no infinity has to be written.
    var largest = f32(logits[start]);
    for (var k = lane; k < params.classes; k += WORKGROUP) {
        largest = max(largest, f32(logits[start + k]));
    }
    largest = workgroup_max(largest, lane);
    var sum = 0.0;
    for (var k = lane; k < params.classes; k += WORKGROUP) {
        sum += exp(f32(logits[start + k]) - largest);
    }
    return largest + log(workgroup_sum(sum, lane));
}
