// Over a block of n rows, with z = x - origin: block_mean = sum z / n, block_m2 = sum (z - block_mean)^2.
// A workgroup takes a block of rows (y) of an image (z), or of all as one, and a strip of channels (x); its lanes walk down the rows.
// needs moments
// The origin is the first row: near the mean, where f32 has more digits left for what differs.

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> origin: array<floats>; // [images, columns]
@group(0) @binding(3) var<storage, read_write> block_mean: array<floats>; // [images, blocks, columns]
@group(0) @binding(4) var<storage, read_write> block_m2: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * STRIP + lane % STRIP;
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    let image = group.z * params.rows * params.columns;
    var own = Moments();
    if column < params.columns {
        let first = floats(x[image + column]);
        for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
            var xs: array<elems, AT_ONCE>;
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                let at = image + min(row + i * ROW_LANES, end - 1u) * params.columns + column;
                xs[i] = x[at];
            }
            // Divisions are dear: of rows that are all there, one for all.
            if row + (AT_ONCE - 1u) * ROW_LANES < end {
                var mean = floats();
                for (var i = 0u; i < AT_ONCE; i++) { // unroll
                    mean += (floats(xs[i]) - first) / f32(AT_ONCE);
                }
                var m2 = floats();
                for (var i = 0u; i < AT_ONCE; i++) { // unroll
                    let off = floats(xs[i]) - first - mean;
                    m2 += off * off;
                }
                own = united(own, Moments(f32(AT_ONCE), mean, m2));
            } else {
                for (var i = 0u; i < AT_ONCE; i++) { // unroll
                    if row + i * ROW_LANES < end {
                        own = with_one(own, floats(xs[i]) - first);
                    }
                }
            }
        }
    }
    let all = strip_moments(own, lane);
    if lane < STRIP && column < params.columns {
        let at = (group.z * groups.y + group.y) * params.columns + column;
        block_mean[at] = all.mean;
        block_m2[at] = all.m2;
        if group.y == 0u {
            origin[group.z * params.columns + column] = floats(x[image + column]);
        }
    }
}
