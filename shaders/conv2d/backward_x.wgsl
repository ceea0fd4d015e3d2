// dx = dy * weight turned round, + plus. Row = input pixel, k = (kernel y, kernel x, output channel), column = input channel.
// Without plus its binding holds dy, unread.
// One workgroup a tile of input pixels x input channels of one group.
//
// A stride cuts input pixels into phases, by their distance from the last patch's first row and column: those of one phase
// are seen by the same taps, every STRIDE-th one, and by no others. slice = (group, phase): so nothing is multiplied that is 0.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs untallied
// needs convolution
// needs gemm | stream
// constants PLUS=1

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<factor>;
@group(0) @binding(2) var<storage, read> weight: array<factor>;
@group(0) @binding(3) var<storage, read> plus: array<pack>;
@group(0) @binding(4) var<storage, read_write> dx: array<pack>;

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

// Whether a tile of k lies in one tap: then that is worked out once for all lanes. And whether there is but one.
const ONE_TAP: bool = GROUP_OUT % TILE_K == 0u;
const POINT: bool = ONE_TAP && KERNEL_H * KERNEL_W == 1u;
// Whether each pixel is seen by its tap: of a stride only one phase is.
const INSIDE: bool = POINT && PAD_H + PAD_W == 0u && PHASES == 1u && EDGES == 0u;

struct OuterA { first: u32, y: i32, x: i32, columns: u32 } // first: the element that the phase's first tap meets
struct OuterB { first: u32, col: u32, phase: vec2<u32>, taps: vec2<u32> }
struct OuterY { col: u32, channel: u32, phase: vec2<u32> }

fn extent() -> vec2<u32> {
    return vec2(params.batch * PHASE_H * PHASE_W, GROUP_IN);
}
fn depth_of(slice: u32) -> vec2<u32> {
    let taps = taps_of(phase_of(slice));
    return vec2(0u, taps.x * taps.y * GROUP_OUT);
}

// How many taps into its phase k is, and which row and column of them that is.
fn tap_at(k0: u32, k: u32, columns: u32) -> vec3<u32> {
    let tap = select(select(k, k0, ONE_TAP) / GROUP_OUT, 0u, POINT);
    return vec3(tap, tap_of(tap, columns));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    let phase = phase_of(slice);
    let pixel = pixel_of(row, phase);
    // The output pixel whose patch holds this pixel at the phase's first tap.
    let y = i32((pixel.y + PAD_H - phase.x) / STRIDE_H);
    let x = i32((pixel.z + PAD_W - phase.y) / STRIDE_W);
    let first = (pixel.x * (OUT_H * OUT_W) + u32(y) * OUT_W + u32(x)) * OUT_C + slice / PHASES * GROUP_OUT;
    return OuterA(first, select(OUTSIDE, y, pixel.x < params.batch), x, taps_of(phase).y);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let tap = tap_at(k0, k + i, outer.columns);
        // What is negative becomes large. Taps past the last one read pixels too: the weights are 0 there.
        let inside = INSIDE | ((u32(outer.y - i32(tap.y)) < OUT_H) & (u32(outer.x - i32(tap.z)) < OUT_W));
        let at = outer.first - ((tap.y * OUT_W + tap.z) * OUT_C + tap.x * GROUP_OUT) + k + i;
        loaded = with_factor(loaded, i, select(factor(), dy[select(0u, at / FACTOR, inside)], inside));
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    let phase = phase_of(slice);
    return OuterB(col * OUT_C + slice / PHASES * GROUP_OUT, col, phase, taps_of(phase));
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let tap = tap_at(k0, k + i, outer.taps.y);
        let turned = outer.phase + tap.yz * vec2(STRIDE_H, STRIDE_W);
        let inside = (EDGES == 0u) | ((outer.col < GROUP_IN) & (tap.y < outer.taps.x));
        let at = outer.first + ((turned.x * KERNEL_W + turned.y) * (GROUP_IN * OUT_C) - tap.x * GROUP_OUT) + k + i;
        loaded = with_factor(loaded, i, select(factor(), weight[select(0u, at / FACTOR, inside)], inside));
    }
    return loaded;
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col, slice / PHASES * GROUP_IN + col, phase_of(slice));
}
// The pixel of a row, counted through the images; and whether there is one.
struct Place { pixel: u32, inside: bool }
fn place_of(outer: OuterY, row: u32, inside: bool) -> Place {
    if PHASES == 1u {
        return Place(row, inside);
    }
    let pixel = pixel_of(row, outer.phase);
    let seen = inside & (pixel.y < IN_H) & (pixel.z < IN_W);
    return Place((pixel.x * IN_H + pixel.y) * IN_W + pixel.z, seen);
}
alias Beside = elem4; // of plus
fn beside(outer: OuterY, row: u32, inside: bool, slice: u32) -> Beside {
    var four = elem4();
    if PLUS == 1u {
        let place = place_of(outer, row, inside);
        for (var i = 0u; i < PACKS; i++) { // unroll
            let within = place.inside & (outer.col + i * PACK < GROUP_IN);
            let at = (place.pixel * IN_C + outer.channel) / PACK + i;
            four = with_pack(four, i, plus[select(0u, at, within)]);
        }
    }
    return four;
}
fn store(outer: OuterY, four: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let place = place_of(outer, row, inside);
    for (var i = 0u; i < PACKS; i++) { // unroll
        if place.inside & (outer.col + i * PACK < GROUP_IN) {
            dx[(place.pixel * IN_C + outer.channel) / PACK + i] = pack_of(sums + vec4<f32>(four), i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
