// Convolution as a GEMM: row = output pixel, k = (kernel y, kernel x, channel), column = output channel.
// slice = (group, range of k): SLICES ranges, each SLICE_DEPTH deep, a multiple of TILE_K.
// The kernel binds x[N, IN_H, IN_W, IN_C], weight[KERNEL_H, KERNEL_W, GROUP_IN, OUT_C] and params.batch.
// needs convolution
// needs gemm | stream
// constants SLICES=1 SLICE_DEPTH=16
const DEPTH: u32 = KERNEL_H * KERNEL_W * GROUP_IN;

// Whether a tile of k lies in one tap: then that is worked out once for all lanes. And whether there is but one.
const ONE_TAP: bool = GROUP_IN % TILE_K == 0u;
const POINT: bool = ONE_TAP && KERNEL_H * KERNEL_W == 1u;
// Whether no patch sticks out.
const INSIDE: bool = POINT && PAD_H + PAD_W == 0u && EDGES == 0u;

struct OuterA { first: u32, y: i32, x: i32 } // first: the patch's first element; of one that sticks out it may be below 0
struct OuterB { first: u32, col: u32 }

fn extent() -> vec2<u32> {
    return vec2(params.batch * OUT_H * OUT_W, GROUP_OUT);
}
fn depth_of(slice: u32) -> vec2<u32> {
    if SLICES == 1u {
        return vec2(0u, DEPTH);
    }
    let first = slice % SLICES * SLICE_DEPTH;
    return vec2(first, min(first + SLICE_DEPTH, DEPTH));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    let image = row / (OUT_H * OUT_W);
    let y = i32(row / OUT_W % OUT_H * STRIDE_H) - i32(PAD_H);
    let x = i32(row % OUT_W * STRIDE_W) - i32(PAD_W);
    let first = (image * (IN_H * IN_W) + u32(y) * IN_W + u32(x)) * IN_C + slice / SLICES * GROUP_IN;
    return OuterA(first, select(OUTSIDE, y, image < params.batch), x);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let tap = select(select(k + i, k0, ONE_TAP) / GROUP_IN, 0u, POINT);
        let tap_y = tap / KERNEL_W;
        let tap_x = tap % KERNEL_W;
        // Taps past the last one read pixels too: the weights are 0 there.
        let inside = INSIDE | ((u32(outer.y + i32(tap_y)) < IN_H) & (u32(outer.x + i32(tap_x)) < IN_W));
        let at = outer.first + ((tap_y * IN_W + tap_x) * IN_C - tap * GROUP_IN) + k + i;
        loaded = with_factor(loaded, i, select(factor(), x[select(0u, at / FACTOR, inside)], inside));
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(slice / SLICES * GROUP_OUT + col, col);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = (EDGES == 0u) | ((outer.col + i * FACTOR < GROUP_OUT) & (k < DEPTH));
        let at = (outer.first + k * OUT_C) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), weight[select(0u, at, inside)], inside));
    }
    return loaded;
}
