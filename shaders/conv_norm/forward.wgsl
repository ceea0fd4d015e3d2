// y = f(gain (x * weight - mean) / sqrt(variance + eps) + bias + shortcut), convolved; f is ReLU or nothing.
// Without a shortcut its binding holds x, unread.
// One workgroup a tile of output pixels x output channels of one group.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs untallied
// needs patches
// constants RELU=1 SHORTCUT=1

struct Params { batch: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> weight: array<factor>;
@group(0) @binding(3) var<storage, read> gain: array<sum_pack>;
@group(0) @binding(4) var<storage, read> bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> mean: array<sum_pack>;
@group(0) @binding(6) var<storage, read> variance: array<sum_pack>;
@group(0) @binding(7) var<storage, read> shortcut: array<pack>;
@group(0) @binding(8) var<storage, read_write> y: array<pack>;

struct OuterY { col: u32, channel: u32, mean: vec4<f32>, scale: vec4<f32>, bias: vec4<f32> }
fn outer_y(col: u32, slice: u32) -> OuterY {
    var outer = OuterY(col, slice * GROUP_OUT + col, vec4<f32>(), vec4<f32>(), vec4<f32>());
    for (var i = 0u; i < PACKS; i++) { // unroll
        if col + i * PACK < GROUP_OUT {
            let at = outer.channel / PACK + i;
            outer.mean = with_sum_pack(outer.mean, i, mean[at]);
            outer.scale = with_sum_pack(outer.scale, i, gain[at] / sqrt(variance[at] + params.eps));
            outer.bias = with_sum_pack(outer.bias, i, bias[at]);
        }
    }
    return outer;
}
alias Beside = elem4; // the shortcut
fn beside(outer: OuterY, row: u32, inside: bool, slice: u32) -> Beside {
    var four = elem4();
    if SHORTCUT == 1u {
        for (var i = 0u; i < PACKS; i++) { // unroll
            let within = inside & (outer.col + i * PACK < GROUP_OUT);
            let at = (row * OUT_C + outer.channel) / PACK + i;
            four = with_pack(four, i, shortcut[select(0u, at, within)]);
        }
    }
    return four;
}
fn store(outer: OuterY, four: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let z = (sums - outer.mean) * outer.scale + outer.bias + vec4<f32>(four);
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & (outer.col + i * PACK < GROUP_OUT) {
            y[(row * OUT_C + outer.channel) / PACK + i] = pack_of(select(z, max(z, vec4<f32>()), RELU == 1u), i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
