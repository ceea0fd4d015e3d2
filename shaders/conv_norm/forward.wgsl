// y = f(gain (x * weight - mean) / sqrt(variance + eps) + bias + shortcut), convolved; f is ReLU or nothing.
// Without a shortcut its binding holds x, unread.
// One workgroup a tile of output pixels x output channels of one group.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs patches
// constants RELU=1 SHORTCUT=1

struct Params { batch: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<pack>;
@group(0) @binding(2) var<storage, read> weight: array<pack>;
@group(0) @binding(3) var<storage, read> gain: array<sum_pack>;
@group(0) @binding(4) var<storage, read> bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> mean: array<sum_pack>;
@group(0) @binding(6) var<storage, read> variance: array<sum_pack>;
@group(0) @binding(7) var<storage, read> shortcut: array<pack>;
@group(0) @binding(8) var<storage, read_write> y: array<pack>;

fn store(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < PACKS; i++) { // unroll
        if col + i * PACK < GROUP_OUT {
            let channel = (slice * GROUP_OUT + col) / PACK + i;
            let at = row * (OUT_C / PACK) + channel;
            let scale = gain[channel] / sqrt(variance[channel] + params.eps);
            var z = (sum_pack_of(sums, i) - mean[channel]) * scale + bias[channel];
            if SHORTCUT == 1u {
                z += sum_pack(shortcut[at]);
            }
            y[at] = pack(select(z, max(z, sum_pack()), RELU == 1u));
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
