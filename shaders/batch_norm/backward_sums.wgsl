// Over a block of rows: block_dgain = sum dz (x - mean) inv_std, block_dbias = sum dz; dz = dy, and behind ReLU 0 where y is not
// above 0. Without ReLU the binding of y holds dy, unread.
// A workgroup takes a block of rows (y) of an image (z), or of all as one, and a strip of channels (x); its lanes walk down the rows.
// needs strip_sum
// constants RELU=1

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> mean: array<floats>; // [images, columns]
@group(0) @binding(3) var<storage, read> inv_std: array<floats>;
@group(0) @binding(4) var<storage, read> dy: array<elems>;
@group(0) @binding(5) var<storage, read> y: array<elems>;
@group(0) @binding(6) var<storage, read_write> block_dgain: array<floats>; // [images, blocks, columns]
@group(0) @binding(7) var<storage, read_write> block_dbias: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var dgain = floats();
    var dbias = floats();
    if column < params.columns {
        let image = group.z * params.rows * params.columns;
        let center = mean[group.z * params.columns + column];
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
                    let slope = select(floats(), floats(dys[i]), (floats(ys[i]) > floats()) | flags(passes));
                    dgain += slope * (floats(xs[i]) - center);
                    dbias += slope;
                }
            }
        }
        dgain *= inv_std[group.z * params.columns + column];
    }
    dgain = strip_sum(dgain, lane);
    dbias = strip_sum(dbias, lane);
    if lane < STRIP && column < params.columns {
        let at = (group.z * groups.y + group.y) * params.columns + column;
        block_dgain[at] = dgain;
        block_dbias[at] = dbias;
    }
}
