// y = f(gain (x - mean) inv_std + bias + shortcut), where f is ReLU or nothing. Without a shortcut its binding holds x, unread.
// A workgroup takes a block of rows (y) of an image (z), or of all as one, and a strip of channels (x); its lanes keep their channel and
// walk down the rows.
// needs strip
// constants RELU=1 SHORTCUT=1

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> gain: array<floats>;
@group(0) @binding(3) var<storage, read> bias: array<floats>;
@group(0) @binding(4) var<storage, read> mean: array<floats>; // [images, columns]
@group(0) @binding(5) var<storage, read> inv_std: array<floats>;
@group(0) @binding(6) var<storage, read> shortcut: array<elems>;
@group(0) @binding(7) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    if column >= params.columns {
        return;
    }
    let image = group.z * params.rows * params.columns;
    let scale = gain[column] * inv_std[group.z * params.columns + column];
    let center = mean[group.z * params.columns + column];
    let shift = bias[column];
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var xs: array<elems, AT_ONCE>;
        var shortcuts: array<elems, AT_ONCE>; // zeros, where there is none
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = image + min(row + i * ROW_LANES, end - 1u) * params.columns + column;
            xs[i] = x[at];
            if SHORTCUT == 1u {
                shortcuts[i] = shortcut[at];
            }
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            if row + i * ROW_LANES < end {
                let z = (floats(xs[i]) - center) * scale + shift + floats(shortcuts[i]);
                y[image + (row + i * ROW_LANES) * params.columns + column] = elems(select(z, max(z, floats()), RELU == 1u));
            }
        }
    }
}
