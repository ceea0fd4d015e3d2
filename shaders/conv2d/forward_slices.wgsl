// partial = x * weight, convolved, over one range of k: `add_slices` adds the ranges' sums.
// One workgroup a tile of output pixels x output channels of one group over one range.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs alone
// needs untallied
// needs patches

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> weight: array<factor>;
@group(0) @binding(3) var<storage, read_write> partial: array<sum_pack>; // [SLICES, rows, OUT_C]

struct OuterY { col: u32, channel: u32 }
fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col, slice / SLICES * GROUP_OUT + col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let at = (slice % SLICES * extent().x + row) * OUT_C + outer.channel;
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & (outer.col + i * PACK < GROUP_OUT) {
            partial[at / PACK + i] = sum_pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
