// The largest of numbers and its place, over sets of lanes of a workgroup. NaN beats numbers; of equals the first place wins, so that
// it does not matter who is asked first.
// needs is_nan
// constants WORKGROUP=256

struct Largest {
    value: floats,
    place: words, // NOWHERE: none was seen
}
const NOWHERE: u32 = 0xffffffffu;
var<workgroup> largest_values: array<floats, WORKGROUP>;
var<workgroup> largest_places: array<words, WORKGROUP>;

fn larger(a: Largest, b: Largest) -> Largest {
    let nan_a = is_nan(a.value);
    let nan_b = is_nan(b.value);
    let alike = (nan_a & nan_b) | (a.value == b.value);
    let better = (nan_b & !nan_a) | (!nan_a & (b.value > a.value)) | (alike & (b.place < a.place));
    let taken = (b.place != words(NOWHERE)) & (better | (a.place == words(NOWHERE)));
    return Largest(select(a.value, b.value, taken), select(a.place, b.place, taken));
}

// Every lane must call, in uniform control flow; the first lane of a set gets its largest. A set has so many `lanes` (a power of two), so far
// `apart`; `turn` is a lane's number in its set.
fn first_largest(own: Largest, lane: u32, turn: u32, lanes: u32, apart: u32) -> Largest {
    largest_values[lane] = own.value;
    largest_places[lane] = own.place;
    workgroupBarrier();
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        if turn < half {
            let other = lane + half * apart;
            let both = larger(
                Largest(largest_values[lane], largest_places[lane]),
                Largest(largest_values[other], largest_places[other]),
            );
            largest_values[lane] = both.value;
            largest_places[lane] = both.place;
        }
        workgroupBarrier();
    }
    return Largest(largest_values[lane], largest_places[lane]);
}
