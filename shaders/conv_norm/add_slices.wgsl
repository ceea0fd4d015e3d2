// y = f(gain (sum over slices of partial - mean) / sqrt(variance + eps) + bias + shortcut), in order; f is ReLU or nothing.
// Without a shortcut its binding holds x, unread. One lane a channel of a pixel, or four.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256 RELU=1 SHORTCUT=1

struct Params { count: u32, columns: u32, slices: u32, eps: f32 } // count, columns: of strips
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<floats>; // [slices, count]
@group(0) @binding(2) var<storage, read> gain: array<floats>;
@group(0) @binding(3) var<storage, read> bias: array<floats>;
@group(0) @binding(4) var<storage, read> mean: array<floats>;
@group(0) @binding(5) var<storage, read> variance: array<floats>;
@group(0) @binding(6) var<storage, read> shortcut: array<elems>;
@group(0) @binding(7) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        var sum = floats();
        for (var slice = 0u; slice < params.slices; slice++) {
            sum += partial[slice * params.count + at];
        }
        let channel = at % params.columns;
        let scale = gain[channel] / sqrt(variance[channel] + params.eps);
        var z = (sum - mean[channel]) * scale + bias[channel];
        if SHORTCUT == 1u {
            z += floats(shortcut[at]);
        }
        y[at] = elems(select(z, max(z, floats()), RELU == 1u));
    }
}
