// Mean and m2, the sum of squared deviations from it: one number more (Welford 1962), two sets as one (Chan, Golub and LeVeque 1983).
// needs strip
// E[x^2] - E[x]^2 would cancel where the mean is far from zero. Counts are exact up to 2^24.
struct Moments { count: f32, mean: floats, m2: floats }
var<workgroup> strip_count: array<f32, WORKGROUP>;
var<workgroup> strip_mean: array<floats, WORKGROUP>;
var<workgroup> strip_m2: array<floats, WORKGROUP>;

fn with_one(known: Moments, x: floats) -> Moments {
    let count = known.count + 1.0;
    let off = x - known.mean;
    let mean = known.mean + off / count;
    return Moments(count, mean, known.m2 + off * (x - mean));
}

fn united(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let share = b.count / max(count, 1.0); // two empty sets stay empty
    let off = b.mean - a.mean;
    return Moments(count, a.mean + off * share, a.m2 + b.m2 + off * off * (a.count * share));
}

fn moments_of(lane: u32) -> Moments {
    return Moments(strip_count[lane], strip_mean[lane], strip_m2[lane]);
}

fn keep_moments(known: Moments, lane: u32) {
    strip_count[lane] = known.count;
    strip_mean[lane] = known.mean;
    strip_m2[lane] = known.m2;
}

// Every lane must call, once, in uniform control flow; every lane gets the moments over the lanes of its column. The order never changes.
fn strip_moments(own: Moments, lane: u32) -> Moments {
    keep_moments(own, lane);
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half >= STRIP; half /= 2u) {
        if lane < half {
            keep_moments(united(moments_of(lane), moments_of(lane + half)), lane);
        }
        workgroupBarrier();
    }
    return moments_of(lane % STRIP);
}
