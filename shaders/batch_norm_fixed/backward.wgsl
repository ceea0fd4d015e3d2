// dx = dy gain inv_std, and over a block of rows: block_dgain = sum dy (x - mean) inv_std, block_dbias = sum dy.
// A workgroup takes a block of rows and a strip of channels; its lanes keep their channel and walk down the rows.
// needs strip_sum

struct Params { rows: u32, columns: u32, rows_each: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> gain: array<floats>;
@group(0) @binding(3) var<storage, read> mean: array<floats>;
@group(0) @binding(4) var<storage, read> variance: array<floats>;
@group(0) @binding(5) var<storage, read> dy: array<elems>;
@group(0) @binding(6) var<storage, read_write> dx: array<elems>;
@group(0) @binding(7) var<storage, read_write> block_dgain: array<floats>;
@group(0) @binding(8) var<storage, read_write> block_dbias: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    var dgain = floats();
    var dbias = floats();
    if column < params.columns {
        let inv_std = 1.0 / sqrt(variance[column] + params.eps);
        let scale = gain[column] * inv_std;
        let center = mean[column];
        for (var row = start + lane / STRIP; row < end; row += ROW_LANES) {
            let at = row * params.columns + column;
            let slope = floats(dy[at]);
            dx[at] = elems(slope * scale);
            dgain += slope * (floats(x[at]) - center);
            dbias += slope;
        }
        dgain *= inv_std;
    }
    dgain = strip_sum(dgain, lane);
    dbias = strip_sum(dbias, lane);
    if lane < STRIP && column < params.columns {
        let at = group.y * params.columns + column;
        block_dgain[at] = dgain;
        block_dbias[at] = dbias;
    }
}
