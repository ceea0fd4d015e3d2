// y[n, c] = sum_r x[n, r, c] / rows.
// A workgroup takes one n and a strip of columns; its lanes walk down the rows.
// needs strip_sum
// needs index

struct Params { n: u32, rows: u32, columns: u32, across: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    let n = number / params.across;
    if n >= params.n {
        return;
    }
    let column = number % params.across * STRIP + lane % STRIP;
    let start = n * params.rows;
    var sum = floats();
    if column < params.columns {
        for (var row = lane / STRIP; row < params.rows; row += ROW_LANES) {
            sum += floats(x[(start + row) * params.columns + column]);
        }
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP && column < params.columns {
        y[n * params.columns + column] = elems(sum / f32(params.rows));
    }
}
