// dx = (dy - y sum of y dy) / |x|, row by row, y = x / |x|; where |x| is below eps, dx = dy / eps. ROW_LANES lanes a row.
// A row of one is its sign, whose slope is 0: not the little that roundings would leave of two numbers that are equal.
// needs rows

struct Params { rows: u32, columns: u32, elements: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    var xs: array<elems, HELD>;
    var dys: array<elems, HELD>;
    var squares = floats();
    var slopes = floats();
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
            dys[i] = dy[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                squares += floats(xs[i]) * floats(xs[i]);
                slopes += floats(xs[i]) * floats(dys[i]);
            }
        }
    }
    let norm = sqrt(row_sum(total(squares), lane));
    let slope = row_sum(total(slopes), lane);
    let scale = 1.0 / max(norm, params.eps);
    // What the norm's own gradient takes away, of y; below eps the norm is not asked.
    let along = select(0.0, slope * scale, norm >= params.eps);
    let is_sign = params.elements == 1u && norm >= params.eps;
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
                let y = floats(xs[i]) * scale;
                dx[strip_at(row, start, i)] = elems(select((floats(dys[i]) - y * along) * scale, floats(), is_sign));
            }
        }
    }
}
