// y[row] = x[row] and a fourth element that is 0, for rows of three: pixels. One lane a row.
// needs bits_16 | bits_32
// needs index
// constants WORKGROUP=256

struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<bits>; // [rows, 3]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<bits>>; // [rows]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = folded(group, groups) * WORKGROUP + lane;
    if row < params.rows {
        y[row] = vec4(x[3u * row], x[3u * row + 1u], x[3u * row + 2u], bits());
    }
}
