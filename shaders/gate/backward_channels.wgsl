// block_sum[n, block, c] = sum of x dy over a block of rows: what the gate of a channel is to be told.
// A workgroup takes a block of rows (y) of an image (z) and a strip of channels (x); its lanes keep their channel and walk down
// the rows.
// needs strip_sum

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read_write> block_sum: array<floats>; // [images, blocks, columns]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * STRIP + lane % STRIP;
    let there = min(column, params.columns - 1u);
    let first_row = group.z * params.rows;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var sum = floats();
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var xs: array<elems, AT_ONCE>;
        var dys: array<elems, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = (first_row + min(row + i * ROW_LANES, end - 1u)) * params.columns + there;
            xs[i] = x[at];
            dys[i] = dy[at];
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            sum += select(floats(), floats(xs[i]) * floats(dys[i]), flags(row + i * ROW_LANES < end));
        }
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP && column < params.columns {
        block_sum[(group.z * groups.y + group.y) * params.columns + column] = sum;
    }
}
