// dx = scale dz - shift - (x - mean) tilt, with the four numbers of a channel in `slopes`; dz = dy, and behind ReLU 0 where y is not
// above 0. Without ReLU the binding of y holds dy, unread.
// A workgroup takes a block of rows (y) of an image (z), or of all as one, and a strip of channels (x); its lanes keep their channel and
// walk down the rows.
// needs strip
// constants RELU=1

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read> y: array<elems>;
@group(0) @binding(4) var<storage, read> slopes: array<floats>; // [images][mean, scale, shift, tilt][columns]
@group(0) @binding(5) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    if column >= params.columns {
        return;
    }
    let image = group.z * params.rows * params.columns;
    let of_image = group.z * 4u * params.columns + column;
    let center = slopes[of_image];
    let scale = slopes[of_image + params.columns];
    let shift = slopes[of_image + 2u * params.columns];
    let tilt = slopes[of_image + 3u * params.columns];
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var xs: array<elems, AT_ONCE>;
        var dys: array<elems, AT_ONCE>;
        var ys: array<elems, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = image + min(row + i * ROW_LANES, end - 1u) * params.columns + column;
            xs[i] = x[at];
            dys[i] = dy[at];
            if RELU == 1u {
                ys[i] = y[at];
            }
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            if row + i * ROW_LANES < end {
                let passes = RELU == 0u;
                let dz = select(floats(), floats(dys[i]), (floats(ys[i]) > floats()) | flags(passes));
                let slope = scale * dz - shift - (floats(xs[i]) - center) * tilt;
                dx[image + (row + i * ROW_LANES) * params.columns + column] = elems(slope);
            }
        }
    }
}
