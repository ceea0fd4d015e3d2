// y = exp(x - max) / sum of exp(x - max), along the last axis. ROW_LANES lanes a row.
// needs rows

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<elems>;

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
    var xs: array<elems, HELD>;
    var largest = floats(x[strip_at(row, first, 0u)]);
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            largest = max(largest, floats(xs[i])); // past the end the last one, again
        }
    }
    let top = row_max(peak(largest), lane);
    var sums = floats();
    for (var start = first; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                xs[i] = x[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            sums += select(floats(), exp(floats(xs[i]) - top), flags(is_inside(start, i)));
        }
    }
    let sum = row_sum(total(sums), lane);
    if own >= params.rows {
        return;
    }
    for (var start = first; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                xs[i] = x[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                y[strip_at(row, start, i)] = elems(exp(floats(xs[i]) - top) / sum);
            }
        }
    }
}
