// y[row, col] = sum over k of a[row, k] b[k, col]. One workgroup a tile of TILE_M x TILE_N sums: the one main loop.
//
// The kernel says what a, b and y are, in strips of 4 consecutive elements:
//   extent() -> (rows, cols, depth)             depth_of(slice) -> (first k, end): first a multiple of TILE_K from 0
//   outer_a(row, slice) -> OuterA               what can be worked out of a row before the loop over k
//   load_a(OuterA, k) -> elem4                  A_ALONG_K = 1: a[row, k .. k+4];  0: a[row .. row+4, k]; zeros outside
//   outer_b(col, slice), load_b                 B_ALONG_K = 1: b[k .. k+4, col];  0: b[k, col .. col+4]; zeros outside
//   store(row, col, slice, sums)                y[row, col .. col+4]; col may be less than 4 from the end
// and an engine multiplies tiles: keep_a, keep_b, Sums, multiply, spill.
// needs index
// needs tile_scalar | tile_coop
// constants WORKGROUP=256 TILE_M=64 TILE_N=64 TILE_K=16 A_ALONG_K=1 B_ALONG_K=0 AHEAD=0

// Tiles run in bands of this many rows of tiles, so that those running at one time share rows of a and columns of b in L2.
const BAND: u32 = 8u;
const STRIPS_A: u32 = TILE_M * TILE_K / 4u / WORKGROUP;
const STRIPS_B: u32 = TILE_N * TILE_K / 4u / WORKGROUP;

// Where strip `strip` of a tile stands: (row or column, k).
fn place(strip: u32, width: u32, along_k: u32) -> vec2<u32> {
    if along_k == 1u {
        return vec2(strip / (TILE_K / 4u), strip % (TILE_K / 4u) * 4u);
    }
    return vec2(strip % (width / 4u) * 4u, strip / (width / 4u));
}

// A lane's strips of the tile at k0, into registers; with AHEAD = 1 while the tile before is being multiplied.
fn fetch_a(
    outers: ptr<function, array<OuterA, STRIPS_A>>,
    strips: ptr<function, array<elem4, STRIPS_A>>,
    lane: u32,
    k0: u32,
) {
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        (*strips)[i] = load_a((*outers)[i], k0 + place(lane + i * WORKGROUP, TILE_M, A_ALONG_K).y);
    }
}
fn fetch_b(
    outers: ptr<function, array<OuterB, STRIPS_B>>,
    strips: ptr<function, array<elem4, STRIPS_B>>,
    lane: u32,
    k0: u32,
) {
    for (var i = 0u; i < STRIPS_B; i++) { // unroll
        (*strips)[i] = load_b((*outers)[i], k0 + place(lane + i * WORKGROUP, TILE_N, B_ALONG_K).y);
    }
}

fn emit(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    let size = extent();
    if row < size.x && col < size.y {
        store(row, col, slice, sums);
    }
}

fn gemm(group: vec3<u32>, groups: vec3<u32>, lane: u32) {
    let size = extent();
    let tiles = (size.xy + vec2(TILE_M - 1u, TILE_N - 1u)) / vec2(TILE_M, TILE_N);
    let tile = folded(group, groups);
    if tile >= tiles.x * tiles.y {
        return;
    }
    let first_row = tile / (BAND * tiles.y) * BAND;
    let rows = min(BAND, tiles.x - first_row);
    let in_band = tile % (BAND * tiles.y);
    let row0 = (first_row + in_band % rows) * TILE_M;
    let col0 = in_band / rows * TILE_N;
    let slice = group.z;

    var outers_a: array<OuterA, STRIPS_A>;
    var outers_b: array<OuterB, STRIPS_B>;
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        outers_a[i] = outer_a(row0 + place(lane + i * WORKGROUP, TILE_M, A_ALONG_K).x, slice);
    }
    for (var i = 0u; i < STRIPS_B; i++) { // unroll
        outers_b[i] = outer_b(col0 + place(lane + i * WORKGROUP, TILE_N, B_ALONG_K).x, slice);
    }
    var sums: Sums;
    var strips_a: array<elem4, STRIPS_A>;
    var strips_b: array<elem4, STRIPS_B>;
    let depth = depth_of(slice);
    if AHEAD == 1u {
        fetch_a(&outers_a, &strips_a, lane, depth.x);
        fetch_b(&outers_b, &strips_b, lane, depth.x);
    }
    for (var k0 = depth.x; k0 < depth.y; k0 += TILE_K) {
        if AHEAD == 0u {
            fetch_a(&outers_a, &strips_a, lane, k0);
            fetch_b(&outers_b, &strips_b, lane, k0);
        }
        workgroupBarrier(); // every lane is done with the last tiles
        for (var i = 0u; i < STRIPS_A; i++) { // unroll
            let at = place(lane + i * WORKGROUP, TILE_M, A_ALONG_K);
            keep_a(at.x, at.y, strips_a[i]);
        }
        for (var i = 0u; i < STRIPS_B; i++) { // unroll
            let at = place(lane + i * WORKGROUP, TILE_N, B_ALONG_K);
            keep_b(at.x, at.y, strips_b[i]);
        }
        workgroupBarrier();
        if AHEAD == 1u {
            fetch_a(&outers_a, &strips_a, lane, k0 + TILE_K);
            fetch_b(&outers_b, &strips_b, lane, k0 + TILE_K);
        }
        multiply(&sums, lane);
    }
    spill(&sums, lane, row0, col0, slice);
}
