// dx = y (dy - sum of dy y), along the last axis. ROW_LANES lanes a row.
// needs rows

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<elems>; // [rows, columns]
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
    let first = lane % ROW_LANES;
    var ys: array<elems, HELD>;
    var dys: array<elems, HELD>;
    var sums = floats();
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            ys[i] = y[strip_at(row, start, i)];
            dys[i] = dy[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                sums += floats(dys[i]) * floats(ys[i]);
            }
        }
    }
    let sum = row_sum(total(sums), lane);
    if own >= params.rows {
        return;
    }
    for (var start = first; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            for (var i = 0u; i < HELD; i++) { // unroll
                ys[i] = y[strip_at(row, start, i)];
                dys[i] = dy[strip_at(row, start, i)];
            }
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                dx[strip_at(row, start, i)] = elems(floats(ys[i]) * (floats(dys[i]) - sum));
            }
        }
    }
}
