// z = x * weight, convolved; block_mean and block_m2 of its columns, over blocks of rows, as many as the main loop tallies.
// One workgroup a tile of output pixels x output channels of one group.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs alone
// needs tally
// needs patches

struct Params { batch: u32, nothing: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> weight: array<factor>;
@group(0) @binding(3) var<storage, read_write> z: array<pack>;
@group(0) @binding(4) var<storage, read_write> block_mean: array<sum_pack>; // [blocks, OUT_C]
@group(0) @binding(5) var<storage, read_write> block_m2: array<sum_pack>;

fn nothing() -> u32 {
    return params.nothing;
}

struct OuterY { col: u32, channel: u32 }
fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col, slice * GROUP_OUT + col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & (outer.col + i * PACK < GROUP_OUT) {
            z[(row * OUT_C + outer.channel) / PACK + i] = pack_of(sums, i);
        }
    }
}
fn keep_tally(outer: OuterY, block: u32, known: Tally) {
    for (var i = 0u; i < PACKS; i++) { // unroll
        // The last tile may have blocks below all rows.
        if (known.rows > 0.0) & (outer.col + i * PACK < GROUP_OUT) {
            let at = (block * OUT_C + outer.channel) / PACK + i;
            block_mean[at] = sum_pack_of(mean_of(known), i);
            block_m2[at] = sum_pack_of(m2_of(known), i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
