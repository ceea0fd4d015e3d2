// origin = total / pixels, centered = raw - origin, channel by channel. One lane an element.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { count: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> raw: array<elem>; // [pixels, channels]
@group(0) @binding(2) var<storage, read> total: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read_write> centered: array<f32>;
@group(0) @binding(4) var<storage, read_write> origin: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let center = total[at % params.channels] / f32(params.count / params.channels);
        centered[at] = f32(raw[at]) - center;
        if at < params.channels {
            origin[at] = center;
        }
    }
}
