// average = average + share (w - average), in place. One lane an element, or four.
// It stays as it is where the factor is 0. Without a factor its binding holds w, unread.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256 SKIPS=1

struct Params { count: u32, share: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<elems>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> average: array<floats>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.count {
        return;
    }
    if SKIPS == 1u {
        if factor[0] == 0.0 {
            return;
        }
    }
    average[at] += params.share * (floats(w[at]) - average[at]);
}
