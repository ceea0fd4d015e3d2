// dx = dy * weight turned round. Row = input pixel, k = (kernel y, kernel x, output channel), column = input channel.
// One workgroup a tile of input pixels x input channels of one group.
//
// A stride cuts input pixels into phases, by their distance from the last patch's first row and column: those of one phase
// are seen by the same taps, every STRIDE-th one, and by no others. slice = (group, phase): so nothing is multiplied that is 0.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs convolution
// needs gemm

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<pack>;
@group(0) @binding(2) var<storage, read> weight: array<pack>;
@group(0) @binding(3) var<storage, read_write> dx: array<pack>;

const PHASES: u32 = STRIDE_H * STRIDE_W;
// Rows and columns of pixels of a phase; of some phases the last lie outside of the image.
const PHASE_H: u32 = (IN_H + STRIDE_H - 1u) / STRIDE_H;
const PHASE_W: u32 = (IN_W + STRIDE_W - 1u) / STRIDE_W;
// Columns of taps that see a phase, at most; some phases are seen by one less.
const TAPS_W: u32 = (KERNEL_W + STRIDE_W - 1u) / STRIDE_W;

// The first tap that sees a phase.
fn phase_of(slice: u32) -> vec2<u32> {
    let phase = slice % PHASES;
    return vec2(phase / STRIDE_W, phase % STRIDE_W);
}
// How many rows and columns of taps see it.
fn taps_of(phase: vec2<u32>) -> vec2<u32> {
    return (vec2(KERNEL_H + STRIDE_H - 1u, KERNEL_W + STRIDE_W - 1u) - phase) / vec2(STRIDE_H, STRIDE_W);
}
// The row and column of taps, among those of the phase; two divisions by constants for one by a number known only now.
fn tap_of(at: u32, columns: u32) -> vec2<u32> {
    let y = select(at / max(TAPS_W - 1u, 1u), at / TAPS_W, columns == TAPS_W);
    return vec2(y, at - y * columns);
}
// The pixel of a row of the phase: image, y, x.
fn pixel_of(row: u32, phase: vec2<u32>) -> vec3<u32> {
    let y = row / PHASE_W % PHASE_H * STRIDE_H + (phase.x + STRIDE_H - PAD_H % STRIDE_H) % STRIDE_H;
    let x = row % PHASE_W * STRIDE_W + (phase.y + STRIDE_W - PAD_W % STRIDE_W) % STRIDE_W;
    return vec3(row / (PHASE_H * PHASE_W), y, x);
}

struct OuterA { image: u32, y: i32, x: i32, channel: u32, columns: u32 }
struct OuterB { col: u32, channel: u32, phase: vec2<u32>, taps: vec2<u32> }

fn extent() -> vec2<u32> {
    return vec2(params.batch * PHASE_H * PHASE_W, GROUP_IN);
}
fn depth_of(slice: u32) -> vec2<u32> {
    let taps = taps_of(phase_of(slice));
    return vec2(0u, taps.x * taps.y * GROUP_OUT);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    let phase = phase_of(slice);
    let pixel = pixel_of(row, phase);
    // The output pixel whose patch holds this pixel at the phase's first tap.
    let y = i32((pixel.y + PAD_H - phase.x) / STRIDE_H);
    let x = i32((pixel.z + PAD_W - phase.y) / STRIDE_W);
    let inside = pixel.x < params.batch;
    let image = pixel.x * OUT_H * OUT_W;
    return OuterA(image, select(OUTSIDE, y, inside), x, slice / PHASES * GROUP_OUT, taps_of(phase).y);
}
fn load_a(outer: OuterA, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        // What is negative becomes large. Taps past the last one read pixels too: the weights are 0 there.
        let tap = tap_of((k + i) / GROUP_OUT, outer.columns);
        let y = u32(outer.y - i32(tap.x));
        let x = u32(outer.x - i32(tap.y));
        let at = ((outer.image + y * OUT_W + x) * OUT_C + outer.channel + (k + i) % GROUP_OUT) / PACK;
        // Loads that no branch holds back start together.
        let inside = (y < OUT_H) & (x < OUT_W);
        strip = with_pack(strip, i, select(pack(), dy[select(0u, at, inside)], inside));
    }
    return strip;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    let phase = phase_of(slice);
    return OuterB(col, slice / PHASES * GROUP_OUT, phase, taps_of(phase));
}
fn load_b(outer: OuterB, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        let tap = tap_of((k + i) / GROUP_OUT, outer.taps.y);
        if EDGES == 0u || ((outer.col < GROUP_IN) & (tap.x < outer.taps.x)) {
            let turned = outer.phase + tap * vec2(STRIDE_H, STRIDE_W);
            let at = ((turned.x * KERNEL_W + turned.y) * GROUP_IN + outer.col) * OUT_C + outer.channel + (k + i) % GROUP_OUT;
            strip = with_pack(strip, i, weight[at / PACK]);
        }
    }
    return strip;
}

fn store(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    let pixel = pixel_of(row, phase_of(slice));
    if PHASES == 1u || ((pixel.y < IN_H) & (pixel.z < IN_W)) {
        let place = select((pixel.x * IN_H + pixel.y) * IN_W + pixel.z, row, PHASES == 1u);
        let at = place * IN_C + slice / PHASES * GROUP_IN + col;
        for (var i = 0u; i < PACKS; i++) { // unroll
            if col + i * PACK < GROUP_IN {
                dx[at / PACK + i] = pack_of(sums, i);
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
