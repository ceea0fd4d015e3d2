// dx[n, r, c] = dy[n, 1, c] / rows + (index[n, c] == r) dy[n, 0, c] + beside[n, r, c]. Without beside its binding holds dy, unread.
// A workgroup takes a block of rows (y) of an image (z) and a strip of channels (x); its lanes keep their channel and walk down
// the rows.
// needs strip
// constants BESIDE=1

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<words>; // [images, columns]
@group(0) @binding(2) var<storage, read> dy: array<elems>; // [images, 2, columns]
@group(0) @binding(3) var<storage, read> beside: array<elems>;
@group(0) @binding(4) var<storage, read_write> dx: array<elems>;

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
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var besides: array<elems, AT_ONCE>; // zeros, where there is none
        if BESIDE == 1u {
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                besides[i] = beside[(first_row + min(row + i * ROW_LANES, end - 1u)) * params.columns + column];
            }
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = row + i * ROW_LANES;
            if at < end {
                let own = mean + select(floats(), largest, place == words(at));
                dx[(first_row + at) * params.columns + column] = elems(own + floats(besides[i]));
            }
        }
    }
}
