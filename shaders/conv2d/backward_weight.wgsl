// dweight = patches of x, transposed, times dy. Row = (kernel y, kernel x, channel), k = output pixel, column = output
// channel. One workgroup a tile of one group over one range of pixels; `add_slices` adds the ranges' sums.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs alone
// needs untallied
// needs convolution
// needs gemm

struct Params { batch: u32, slices: u32, slice_depth: u32 } // slice_depth: pixels a range, a multiple of TILE_K
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> dy: array<factor>;
@group(0) @binding(3) var<storage, read_write> partial: array<sum_pack>; // [slices, rows, OUT_C]

const ROWS: u32 = KERNEL_H * KERNEL_W * GROUP_IN;

// Whether pixels of x and of dy are the same ones, in the same order.
const POINT: bool = KERNEL_H * KERNEL_W * STRIDE_H * STRIDE_W == 1u && PAD_H + PAD_W == 0u;
const INSIDE: bool = POINT && EDGES == 0u;

struct OuterA { row: u32, group: u32 }
struct OuterB { col: u32, channel: u32 }
struct OuterY { col: u32, channel: u32 }

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

// The row and column of a tap, and the channel.
fn tap_of(row: u32) -> vec3<u32> {
    let tap = row / GROUP_IN;
    return vec3(tap / KERNEL_W, tap % KERNEL_W, row % GROUP_IN);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, slice / params.slices * GROUP_IN);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    let image = k / (OUT_H * OUT_W);
    let y0 = k / OUT_W % OUT_H * STRIDE_H;
    let x0 = k % OUT_W * STRIDE_W;
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        // Rows past the last tap read pixels too: their sums go nowhere.
        let tap = tap_of(outer.row + i);
        let y = y0 + tap.x - PAD_H; // what is negative becomes large
        let x_at = x0 + tap.y - PAD_W;
        let inside = INSIDE | ((y < IN_H) & (x_at < IN_W) & ((EDGES == 0u) | (image < params.batch)));
        let pixel = select((image * IN_H + y) * IN_W + x_at, k, POINT);
        let at = (pixel * IN_C + outer.group + tap.z) / FACTOR;
        loaded = with_factor(loaded, i, select(factor(), x[select(0u, at, inside)], inside));
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice / params.slices * GROUP_OUT + col);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = (EDGES == 0u) | ((outer.col + i * FACTOR < GROUP_OUT) & (k < pixels()));
        let at = (k * OUT_C + outer.channel) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), dy[select(0u, at, inside)], inside));
    }
    return loaded;
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col, slice / params.slices * GROUP_OUT + col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let at = (slice % params.slices * ROWS + row) * OUT_C + outer.channel;
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
