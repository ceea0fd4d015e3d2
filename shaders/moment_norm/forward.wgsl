// scaled = weight · scale, shift = bias - mean · scale, scale = gain · inv_std, column by column. One lane an element.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { count: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<elem>; // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<f32>; // [columns], as the following
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> inv_std: array<f32>;
@group(0) @binding(6) var<storage, read_write> scaled: array<elem>;
@group(0) @binding(7) var<storage, read_write> shift: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let column = at % params.columns;
        let scale = gain[column] * inv_std[column];
        scaled[at] = elem(f32(weight[at]) * scale);
        if at < params.columns {
            shift[at] = bias[at] - mean[at] * scale;
        }
    }
}
