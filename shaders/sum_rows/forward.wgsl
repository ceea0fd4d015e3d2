// y[block, c] = sum of x[r, c] over the rows of the block. Run again on its own y, it leaves one row: the sum of all.
// A workgroup takes a block of rows and a strip of columns; its lanes walk down the rows.
// needs strip_sum

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> y: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var sum = floats();
    if column < params.columns {
        for (var row = start + lane / STRIP; row < end; row += ROW_LANES) {
            sum += floats(x[row * params.columns + column]);
        }
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP && column < params.columns {
        y[group.y * params.columns + column] = sum;
    }
}
