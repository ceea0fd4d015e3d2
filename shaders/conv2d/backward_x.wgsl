// dx = dy * weight turned round. Row = input pixel, k = (kernel y, kernel x, output channel), column = input channel.
// One workgroup a tile of input pixels x input channels of one group.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs convolution
// needs gemm

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<pack>;
@group(0) @binding(2) var<storage, read> weight: array<pack>;
@group(0) @binding(3) var<storage, read_write> dx: array<pack>;

const DEPTH: u32 = KERNEL_H * KERNEL_W * GROUP_OUT;

struct OuterA { image: u32, y: i32, x: i32, channel: u32 }
struct OuterB { col: u32, channel: u32 }

fn extent() -> vec3<u32> {
    return vec3(params.batch * IN_H * IN_W, GROUP_IN, DEPTH);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, DEPTH);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    let image = row / (IN_H * IN_W);
    let y = i32(row / IN_W % IN_H + PAD_H);
    let x = i32(row % IN_W + PAD_W);
    return OuterA(image * OUT_H * OUT_W, select(OUTSIDE, y, image < params.batch), x, slice * GROUP_OUT);
}
fn load_a(outer: OuterA, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        // The output pixel whose patch holds this input pixel at this tap, if there is one; what is negative becomes large.
        // Taps past the last one read pixels too: the weights are 0 there.
        let tap = (k + i) / GROUP_OUT;
        let y = u32(outer.y - i32(tap / KERNEL_W));
        let x = u32(outer.x - i32(tap % KERNEL_W));
        let at_y = y / STRIDE_H;
        let at_x = x / STRIDE_W;
        if (at_y * STRIDE_H == y) & (at_x * STRIDE_W == x) & (at_y < OUT_H) & (at_x < OUT_W) {
            let at = (outer.image + at_y * OUT_W + at_x) * OUT_C + outer.channel + (k + i) % GROUP_OUT;
            strip = with_pack(strip, i, dy[at / PACK]);
        }
    }
    return strip;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice * GROUP_OUT);
}
fn load_b(outer: OuterB, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        let tap = (k + i) / GROUP_OUT;
        if EDGES == 0u || ((outer.col < GROUP_IN) & (tap < KERNEL_H * KERNEL_W)) {
            let at = (tap * GROUP_IN + outer.col) * OUT_C + outer.channel + (k + i) % GROUP_OUT;
            strip = with_pack(strip, i, weight[at / PACK]);
        }
    }
    return strip;
}

fn store(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    let at = row * IN_C + slice * GROUP_IN + col;
    for (var i = 0u; i < PACKS; i++) { // unroll
        if col + i * PACK < GROUP_IN {
            dx[at / PACK + i] = pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
