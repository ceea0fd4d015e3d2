// dx[n, r, c] = dy[n, c] / rows. One lane an element, or four.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params { count: u32, rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<elems>;
@group(0) @binding(2) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let n = at / (params.rows * params.columns);
        dx[at] = elems(floats(dy[n * params.columns + at % params.columns]) / f32(params.rows));
    }
}
