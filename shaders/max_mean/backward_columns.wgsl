// dx[row, c] = dy[row, 1] / channels + (index[row] == c) dy[row, 0]. A lane some strips.
// needs elem_f32 | elem_f16
// needs flat

struct Params { strips: u32, columns: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read> dy: array<elem>; // [rows, 2]
@group(0) @binding(3) var<storage, read_write> dx: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_strip(group, groups, lane);
    for (var i = 0u; i < AT_ONCE; i++) { // unroll
        let at = first + i * WORKGROUP;
        if at < params.strips {
            let row = at / params.columns;
            let here = elements_of(at % params.columns) == words(index[row]);
            let mean = floats(f32(dy[2u * row + 1u]) / f32(params.channels));
            dx[at] = elems(mean + select(floats(), floats(f32(dy[2u * row])), here));
        }
    }
}
