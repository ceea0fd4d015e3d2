// y[row, 0] = the largest x of a row, index[row] = its channel (of equals the first; NaN beats numbers), y[row, 1] = the mean.
// ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs rows
// needs first_largest

struct Params { rows: u32, columns: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // [rows, 2]
@group(0) @binding(3) var<storage, read_write> index: array<u32>; // [rows]

// Of a lane's numbers side by side: the place of the largest.
fn first_of(largest: Largest) -> u32 {
    let nan = is_nan(largest.value);
    let any_nan = peak(select(floats(), floats(1.0), nan)) > 0.0;
    let best = select(largest.value == floats(peak(largest.value)), nan, flags(any_nan));
    // Exact, as far as f32 counts.
    return u32(-peak(select(floats(-3.0e38), -floats(largest.place), best)));
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    let first = lane % ROW_LANES;
    var sums = floats();
    var largest = Largest(floats(), words(NOWHERE));
    for (var start = first; start < params.columns; start += CHUNK) {
        var xs: array<elems, HELD>;
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            let value = floats(xs[i]);
            sums += select(floats(), value, flags(is_inside(start, i)));
            // Past the end the last strip again, which is no better than itself.
            largest = larger(largest, Largest(value, elements_of(min(start + i * ROW_LANES, params.columns - 1u))));
        }
    }
    let sum = row_sum(total(sums), lane);
    largest = first_largest(largest, lane, first, ROW_LANES, 1u);
    if own < params.rows && first == 0u {
        let place = first_of(largest);
        let strip = floats(x[strip_of(row * params.channels + place)]);
        let chosen = elements_of(strip_of(place)) == words(place);
        // NaN times 0 is no 0: what is not chosen must not be added.
        y[2u * own] = elem(total(select(floats(), strip, chosen)));
        y[2u * own + 1u] = elem(sum / f32(params.channels));
        index[own] = place;
    }
}
