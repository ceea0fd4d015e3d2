// dx[n, r, c] = dy[n, 1, c] / rows + (index[n, c] == r) dy[n, 0, c].
// A workgroup takes a block of rows (y) of an image (z) and a strip of channels (x); its lanes keep their channel and walk down
// the rows.
// needs strip

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<words>; // [images, columns]
@group(0) @binding(2) var<storage, read> dy: array<elems>; // [images, 2, columns]
@group(0) @binding(3) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    if column >= params.columns {
        return;
    }
    let largest = floats(dy[2u * group.z * params.columns + column]);
    let mean = floats(dy[(2u * group.z + 1u) * params.columns + column]) / f32(params.rows);
    let place = index[group.z * params.columns + column];
    let first_row = group.z * params.rows;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    for (var row = start + lane / STRIP; row < end; row += ROW_LANES) {
        dx[(first_row + row) * params.columns + column] = elems(mean + select(floats(), largest, place == words(row)));
    }
}
