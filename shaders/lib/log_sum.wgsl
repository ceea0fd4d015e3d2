// The logarithm of a sum of exponentials, over a row of `logits` of `params.classes` numbers from `start` on. A workgroup takes the
// row, its lanes stride over it, and load several numbers before they work on any; the largest is taken out first, so that no
// exponential overflows.
// needs reduce
// needs elem_f32 | elem_f16

const LOGITS: u32 = 8u;

// A lane's i-th number of those from k on; past the end the last one.
fn logit(start: u32, k: u32, i: u32) -> f32 {
    return f32(logits[start + min(k + i * WORKGROUP, params.classes - 1u)]);
}

// Every lane must call, in uniform control flow; every lane gets it.
fn log_of_sum(start: u32, lane: u32) -> f32 {
    // Every lane starts from a number of the row, so that no infinity has to be written.
    var largest = f32(logits[start]);
    var known: array<f32, LOGITS>;
    for (var k = lane; k < params.classes; k += LOGITS * WORKGROUP) {
        for (var i = 0u; i < LOGITS; i++) { // unroll
            known[i] = logit(start, k, i);
        }
        for (var i = 0u; i < LOGITS; i++) { // unroll
            largest = max(largest, known[i]);
        }
    }
    largest = workgroup_max(largest, lane);
    var sum = 0.0;
    for (var k = lane; k < params.classes; k += LOGITS * WORKGROUP) {
        for (var i = 0u; i < LOGITS; i++) { // unroll
            known[i] = logit(start, k, i);
        }
        for (var i = 0u; i < LOGITS; i++) { // unroll
            sum += select(0.0, exp(known[i] - largest), k + i * WORKGROUP < params.classes);
        }
    }
    return largest + log(workgroup_sum(sum, lane));
}
