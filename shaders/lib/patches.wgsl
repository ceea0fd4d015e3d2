// Convolution as a GEMM: row = output pixel, k = (kernel y, kernel x, channel), column = output channel.
// slice = (group, range of k): SLICES ranges, each SLICE_DEPTH deep, a multiple of TILE_K.
// The kernel binds x[N, IN_H, IN_W, IN_C], weight[KERNEL_H, KERNEL_W, GROUP_IN, OUT_C] and params.batch.
// needs convolution
// needs gemm
// constants SLICES=1 SLICE_DEPTH=16
const DEPTH: u32 = KERNEL_H * KERNEL_W * GROUP_IN;

struct OuterA { image: u32, y: i32, x: i32, channel: u32 }
struct OuterB { col: u32, channel: u32 }

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
    return OuterA(image * IN_H * IN_W, select(OUTSIDE, y, image < params.batch), x, slice / SLICES * GROUP_IN);
}
fn load_a(outer: OuterA, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        let tap = (k + i) / GROUP_IN;
        let y = u32(outer.y + i32(tap / KERNEL_W));
        let x_at = u32(outer.x + i32(tap % KERNEL_W));
        let at = ((outer.image + y * IN_W + x_at) * IN_C + outer.channel + (k + i) % GROUP_IN) / PACK;
        // Taps past the last one read pixels too: the weights are 0 there. Loads that no branch holds back start together.
        let inside = (y < IN_H) & (x_at < IN_W);
        strip = with_pack(strip, i, select(pack(), x[select(0u, at, inside)], inside));
    }
    return strip;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice / SLICES * GROUP_OUT + col);
}
fn load_b(outer: OuterB, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        if EDGES == 0u || ((outer.col + i * PACK < GROUP_OUT) & (k < DEPTH)) {
            strip = with_pack(strip, i, weight[(k * OUT_C + outer.channel) / PACK + i]);
        }
    }
    return strip;
}
