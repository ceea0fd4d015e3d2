// y = gain (x - mean) inv_std + bias, row by row; inv_std = 1 / sqrt(variance + eps). ROW_LANES lanes a row.
// The variance is the mean of squares about the mean: E[x^2] - E[x]^2 would cancel where the mean is far from zero.
// needs rows

struct Params { rows: u32, columns: u32, elements: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<floats>;
@group(0) @binding(3) var<storage, read> bias: array<floats>;
@group(0) @binding(4) var<storage, read_write> y: array<elems>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>; // [rows]
@group(0) @binding(6) var<storage, read_write> inv_std: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    let count = f32(params.elements);
    var xs: array<elems, HELD>;
    var sum = floats();
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                sum += floats(xs[i]);
            }
        }
    }
    let center = row_sum(total(sum), lane) / count;
    var squares = floats();
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                xs[i] = x[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let off = floats(xs[i]) - center;
                squares += off * off;
            }
        }
    }
    let scale = 1.0 / sqrt(row_sum(total(squares), lane) / count + params.eps);
    if own >= params.rows {
        return;
    }
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                xs[i] = x[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let column = start + i * ROW_LANES;
                let normal = (floats(xs[i]) - center) * scale;
                y[strip_at(row, start, i)] = elems(normal * gain[column] + bias[column]);
            }
        }
    }
    if lane % ROW_LANES == 0u {
        mean[row] = center;
        inv_std[row] = scale;
    }
}
