// dweight = patches of x, transposed, times dy. Row = (kernel y, kernel x, channel), k = output pixel, column = output
// channel. One workgroup a tile of one group over one range of pixels; `add_slices` adds the ranges' sums.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs convolution
// needs gemm

struct Params { batch: u32, slices: u32, slice_depth: u32 } // slice_depth: pixels a range, a multiple of TILE_K
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<pack>;
@group(0) @binding(2) var<storage, read> dy: array<pack>;
@group(0) @binding(3) var<storage, read_write> partial: array<sum_pack>; // [slices, rows, OUT_C]

const ROWS: u32 = KERNEL_H * KERNEL_W * GROUP_IN;

struct OuterA { row: u32, group: u32 }
struct OuterB { col: u32, channel: u32 }

fn pixels() -> u32 {
    return params.batch * OUT_H * OUT_W;
}
fn extent() -> vec2<u32> {
    return vec2(ROWS, GROUP_OUT);
}
fn depth_of(slice: u32) -> vec2<u32> {
    let first = slice % params.slices * params.slice_depth;
    return vec2(first, min(first + params.slice_depth, pixels()));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, slice / params.slices);
}
fn load_a(outer: OuterA, k: u32) -> elem4 {
    let image = k / (OUT_H * OUT_W);
    let y0 = i32(k / OUT_W % OUT_H * STRIDE_H) - i32(PAD_H);
    let x0 = i32(k % OUT_W * STRIDE_W) - i32(PAD_W);
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        let tap = (outer.row + i) / GROUP_IN;
        let y = u32(y0 + i32(tap / KERNEL_W));
        let x_at = u32(x0 + i32(tap % KERNEL_W));
        if (y < IN_H) & (x_at < IN_W) & (EDGES == 0u || image < params.batch) {
            let channel = outer.group * GROUP_IN + (outer.row + i) % GROUP_IN;
            strip = with_pack(strip, i, x[(((image * IN_H + y) * IN_W + x_at) * IN_C + channel) / PACK]);
        }
    }
    return strip;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice / params.slices * GROUP_OUT + col);
}
fn load_b(outer: OuterB, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        if EDGES == 0u || ((outer.col + i * PACK < GROUP_OUT) & (k < pixels())) {
            strip = with_pack(strip, i, dy[(k * OUT_C + outer.channel) / PACK + i]);
        }
    }
    return strip;
}

fn store(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    let channel = slice / params.slices * GROUP_OUT + col;
    let at = (slice % params.slices * ROWS + row) * OUT_C + channel;
    for (var i = 0u; i < PACKS; i++) { // unroll
        if col + i * PACK < GROUP_OUT {
            partial[at / PACK + i] = sum_pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
