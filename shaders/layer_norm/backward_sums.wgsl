// Over a block of rows: block_dgain = sum dy (x - mean) inv_std, block_dbias = sum dy.
// A workgroup takes a block of rows and a strip of columns; its lanes walk down the rows.
// needs strip_sum

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> inv_std: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<elems>;
@group(0) @binding(5) var<storage, read_write> block_dgain: array<floats>; // [blocks, columns]
@group(0) @binding(6) var<storage, read_write> block_dbias: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var dgain = floats();
    var dbias = floats();
    if column < params.columns {
        for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
            var xs: array<elems, AT_ONCE>;
            var dys: array<elems, AT_ONCE>;
            var centers: array<f32, AT_ONCE>;
            var scales: array<f32, AT_ONCE>;
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                let loaded = min(row + i * ROW_LANES, end - 1u);
                xs[i] = x[loaded * params.columns + column];
                dys[i] = dy[loaded * params.columns + column];
                centers[i] = mean[loaded];
                scales[i] = inv_std[loaded];
            }
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                if row + i * ROW_LANES < end {
                    let slope = floats(dys[i]);
                    dgain += slope * ((floats(xs[i]) - centers[i]) * scales[i]);
                    dbias += slope;
                }
            }
        }
    }
    dgain = strip_sum(dgain, lane);
    dbias = strip_sum(dbias, lane);
    if lane < STRIP && column < params.columns {
        let at = group.y * params.columns + column;
        block_dgain[at] = dgain;
        block_dbias[at] = dbias;
    }
}
