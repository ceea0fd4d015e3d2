// y = a b, batched, either side stored transposed: A_ALONG_K = 0 is a[k, row], B_ALONG_K = 1 is b[col, k].
// One workgroup a tile of one batch. Sizes are constants of a build: as parameters they cost
// a third of the speed (benches/rejected.md), presumably since the distance between a lane's strips is no constant either.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4 | pack_8
// needs alone
// needs untallied
// needs gemm | stream
// constants ROWS=40 COLS=24 DEPTH=20

@group(0) @binding(1) var<storage, read> a: array<factor>;
@group(0) @binding(2) var<storage, read> b: array<factor>;
@group(0) @binding(3) var<storage, read_write> y: array<pack>;

// From one row (a) or column (b) to the next, and from one k to the next.
const STRIDE_ROW: u32 = A_ALONG_K * DEPTH + (1u - A_ALONG_K);
const STRIDE_COL: u32 = B_ALONG_K * DEPTH + (1u - B_ALONG_K);
const STRIDE_A: u32 = A_ALONG_K + (1u - A_ALONG_K) * ROWS;
const STRIDE_B: u32 = B_ALONG_K + (1u - B_ALONG_K) * COLS;

struct OuterA { row: u32, at: u32 }
struct OuterB { col: u32, at: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(ROWS, COLS);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, DEPTH);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, slice * ROWS * DEPTH + row * STRIDE_ROW);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let row = outer.row + (1u - A_ALONG_K) * i * FACTOR;
        let inside = (EDGES == 0u) | ((row < ROWS) & (k + A_ALONG_K * i * FACTOR < DEPTH));
        let at = (outer.at + k * STRIDE_A) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), a[select(0u, at, inside)], inside));
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice * DEPTH * COLS + col * STRIDE_COL);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let col = outer.col + (1u - B_ALONG_K) * i * FACTOR;
        let inside = (EDGES == 0u) | ((col < COLS) & (k + B_ALONG_K * i * FACTOR < DEPTH));
        let at = (outer.at + k * STRIDE_B) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), b[select(0u, at, inside)], inside));
    }
    return loaded;
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    let at = (slice * ROWS + row) * COLS + outer.col;
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & ((EDGES == 0u) | (outer.col + i * PACK < COLS)) {
            y[at / PACK + i] = pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
