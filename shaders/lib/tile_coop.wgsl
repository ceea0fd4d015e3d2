// The cooperative-matrix engine: SUBGROUPS_M x SUBGROUPS_N subgroups, each sums a block of fragments, f16 into f32.
// needs fragment_8 | fragment_16
// not with elem_f32
// constants SUBGROUP=32 SUBGROUPS_M=2 SUBGROUPS_N=2
enable wgpu_cooperative_matrix;

const FRAGMENTS_M: u32 = TILE_M / SUBGROUPS_M / FRAGMENT;
const FRAGMENTS_N: u32 = TILE_N / SUBGROUPS_N / FRAGMENT;
const STEPS: u32 = TILE_K / FRAGMENT;

// Tiles lie as strips come: along k, or along rows and columns. In strips of 4; 8 elements of padding a line, without
// which fragments load at half the speed.
const WIDTH_A: u32 = (A_ALONG_K * TILE_K + (1u - A_ALONG_K) * TILE_M + 8u) / 4u;
const WIDTH_B: u32 = (B_ALONG_K * TILE_K + (1u - B_ALONG_K) * TILE_N + 8u) / 4u;
const LINES_A: u32 = A_ALONG_K * TILE_M + (1u - A_ALONG_K) * TILE_K;
const LINES_B: u32 = B_ALONG_K * TILE_N + (1u - B_ALONG_K) * TILE_K;
var<workgroup> tile_a: array<vec4<f16>, LINES_A * WIDTH_A>;
var<workgroup> tile_b: array<vec4<f16>, LINES_B * WIDTH_B>;

// Sums leave fragments only through memory: one fragment a subgroup at a time, since the more memory a workgroup takes, the
// fewer of them run side by side. A row of fragments at a time made a GEMM a third slower (benches/rejected.md).
const SPILL_STRIPS: u32 = FRAGMENT / 4u;
const SPILL_WIDTH: u32 = SPILL_STRIPS + 1u;
const SPILL: u32 = FRAGMENT * SPILL_WIDTH;
var<workgroup> spilled: array<vec4<f32>, SUBGROUPS_M * SUBGROUPS_N * SPILL>;

alias Sums = array<FragmentSum, FRAGMENTS_M * FRAGMENTS_N>;

fn keep_a(at: vec2<u32>, strip_at: u32, strip: elem4) {
    if A_ALONG_K == 1u {
        tile_a[at.x * WIDTH_A + at.y / 4u + strip_at * (APART_A * WIDTH_A)] = strip;
    } else {
        tile_a[at.y * WIDTH_A + at.x / 4u + strip_at * (DEEPER_A * WIDTH_A)] = strip;
    }
}

fn keep_b(at: vec2<u32>, strip_at: u32, strip: elem4) {
    if B_ALONG_K == 1u {
        tile_b[at.x * WIDTH_B + at.y / 4u + strip_at * (APART_B * WIDTH_B)] = strip;
    } else {
        tile_b[at.y * WIDTH_B + at.x / 4u + strip_at * (DEEPER_B * WIDTH_B)] = strip;
    }
}

fn fragment_a(row: u32, k: u32) -> FragmentA {
    if A_ALONG_K == 1u {
        return coopLoadT<FragmentA>(&tile_a[row * WIDTH_A + k / 4u], WIDTH_A);
    }
    return coopLoad<FragmentA>(&tile_a[k * WIDTH_A + row / 4u], WIDTH_A);
}

fn fragment_b(k: u32, col: u32) -> FragmentB {
    if B_ALONG_K == 1u {
        return coopLoad<FragmentB>(&tile_b[col * WIDTH_B + k / 4u], WIDTH_B);
    }
    return coopLoadT<FragmentB>(&tile_b[k * WIDTH_B + col / 4u], WIDTH_B);
}

fn multiply(sums: ptr<function, Sums>, lane: u32) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let col = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    for (var step = 0u; step < STEPS; step++) { // unroll
        var a: array<FragmentA, FRAGMENTS_M>;
        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            a[i] = fragment_a(row + i * FRAGMENT, step * FRAGMENT);
        }
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            let b = fragment_b(step * FRAGMENT, col + j * FRAGMENT);
            for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
                (*sums)[i * FRAGMENTS_N + j] = coopMultiplyAdd(a[i], b, (*sums)[i * FRAGMENTS_N + j]);
            }
        }
    }
}

fn spill(sums: ptr<function, Sums>, lane: u32, row0: u32, col0: u32, slice: u32) {
    let subgroup = lane / SUBGROUP;
    let row = row0 + subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let col = col0 + subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            // naga 30 panics on arguments of coopStoreT that are no plain names.
            let part = (*sums)[i * FRAGMENTS_N + j];
            let at = subgroup * SPILL;
            let stride = SPILL_WIDTH;
            coopStoreT(part, &spilled[at], stride);
            workgroupBarrier();
            for (var strip = lane % SUBGROUP; strip < FRAGMENT * SPILL_STRIPS; strip += SUBGROUP) {
                let y = strip / SPILL_STRIPS;
                let x = strip % SPILL_STRIPS;
                let four = spilled[subgroup * SPILL + y * SPILL_WIDTH + x];
                emit(row + i * FRAGMENT + y, col + j * FRAGMENT + x * 4u, slice, four);
            }
            workgroupBarrier(); // spilled is reused by the next fragment
        }
    }
}
