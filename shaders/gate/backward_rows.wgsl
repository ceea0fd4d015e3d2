// dgate[row] = f'(gate[row]) sum over channels of x dy. ROW_LANES lanes a row.
// needs map_relu | map_sigmoid | map_gelu
// needs rows

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> gate: array<elem>; // [rows]
@group(0) @binding(3) var<storage, read> dy: array<elems>;
@group(0) @binding(4) var<storage, read_write> dgate: array<elem>;

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
    for (var start = first; start < params.columns; start += CHUNK) {
        var xs: array<elems, HELD>;
        var dys: array<elems, HELD>;
        for (var i = 0u; i < HELD; i++) { // unroll
            xs[i] = x[strip_at(row, start, i)];
            dys[i] = dy[strip_at(row, start, i)];
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            sums += select(floats(), floats(xs[i]) * floats(dys[i]), flags(is_inside(start, i)));
        }
    }
    let sum = row_sum(total(sums), lane);
    if own < params.rows && first == 0u {
        // All of a strip have one slope, whose largest it is.
        dgate[own] = elem(peak(df(floats(f32(gate[own])))) * sum);
    }
}
