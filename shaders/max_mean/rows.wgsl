// block_largest = the largest x of a channel over a block of rows, block_row = its row (of equals the first; NaN beats numbers), block_sum = sum x.
// A workgroup takes a block of rows (y) of an image (z) and a strip of channels (x); its lanes keep their channel and walk down
// the rows.
// needs strip_sum
// needs first_largest

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> block_largest: array<floats>; // [images, blocks, columns]
@group(0) @binding(3) var<storage, read_write> block_row: array<words>;
@group(0) @binding(4) var<storage, read_write> block_sum: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * STRIP + lane % STRIP;
    let there = min(column, params.columns - 1u);
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var sum = floats();
    var largest = Largest(floats(), words(NOWHERE));
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var xs: array<elems, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            xs[i] = x[(group.z * params.rows + min(row + i * ROW_LANES, end - 1u)) * params.columns + there];
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = row + i * ROW_LANES;
            let value = floats(xs[i]);
            sum += select(floats(), value, flags(at < end));
            // Past the end the last row again, which is no better than itself.
            largest = larger(largest, Largest(value, words(min(at, end - 1u))));
        }
    }
    sum = strip_sum(sum, lane);
    largest = first_largest(largest, lane, lane / STRIP, ROW_LANES, STRIP);
    if lane < STRIP && column < params.columns {
        let at = (group.z * groups.y + group.y) * params.columns + column;
        block_largest[at] = largest.value;
        block_row[at] = largest.place;
        block_sum[at] = sum;
    }
}
