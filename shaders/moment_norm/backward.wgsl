// dweight = (dscaled - patch_mean dshift) scale + 2 dvariance (covariance · weight). One lane an element.
// needs elem_f32 | elem_f16
// needs index
// needs covariance
// constants WORKGROUP=256

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<elem>; // [rows, columns]
@group(0) @binding(2) var<storage, read> patch_mean: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read> covariance: array<f32>; // [rows, rows]
@group(0) @binding(4) var<storage, read> slopes: array<f32>; // scale and 2 dvariance: [2, columns]
@group(0) @binding(5) var<storage, read> dscaled: array<elem>; // [rows, columns]
@group(0) @binding(6) var<storage, read> dshift: array<f32>; // [columns]
@group(0) @binding(7) var<storage, read_write> dweight: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    let row = at / params.columns;
    let column = at % params.columns;
    if row < params.rows {
        let direct = (f32(dscaled[at]) - patch_mean[row] * dshift[column]) * slopes[column];
        dweight[at] = elem(direct + slopes[params.columns + column] * covaries(row, column));
    }
}
