// dx = inv_std (dz - mean of dz - z mean of dz z), row by row, with z = (x - mean) inv_std and dz = gain dy. ROW_LANES lanes a row.
// A row of one is its bias, whose slope is 0: not the little that roundings would leave of numbers that are equal.
// needs rows

struct Params { rows: u32, columns: u32, elements: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<floats>;
@group(0) @binding(3) var<storage, read> mean: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> inv_std: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<elems>;
@group(0) @binding(6) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    let center = mean[row];
    let scale = inv_std[row];
    var xs: array<elems, HELD>;
    var dys: array<elems, HELD>;
    var slopes = floats();
    var tilts = floats();
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
            dys[i] = dy[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let slope = floats(dys[i]) * gain[start + i * ROW_LANES];
                slopes += slope;
                tilts += slope * ((floats(xs[i]) - center) * scale);
            }
        }
    }
    let count = f32(params.elements);
    let slope_mean = row_sum(total(slopes), lane) / count;
    let tilt_mean = row_sum(total(tilts), lane) / count;
    if own >= params.rows {
        return;
    }
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                xs[i] = x[strip_at(row, start, i)];
                dys[i] = dy[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let slope = floats(dys[i]) * gain[start + i * ROW_LANES];
                let normal = (floats(xs[i]) - center) * scale;
                let own_slope = select((slope - slope_mean - normal * tilt_mean) * scale, floats(), params.elements == 1u);
                dx[strip_at(row, start, i)] = elems(own_slope);
            }
        }
    }
}
