// class = the place of the largest logit of a row. ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs largest

struct Params { rows: u32, columns: u32, classes: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read_write> class_of: array<u32>; // [rows]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let found = class_of_row(min(own, params.rows - 1u), lane);
    if own < params.rows && lane % ROW_LANES == 0u {
        class_of[own] = found;
    }
}
