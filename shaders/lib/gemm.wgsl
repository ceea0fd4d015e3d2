// y[row, col] = sum over k of a[row, k] b[k, col]. The main loop; `stream` is that of short sums.
// One workgroup a tile of TILE_M x TILE_N sums: x counts tiles along columns, y along rows, z slices. Kernels of several products
// call `product` for each, with the product's number in the place of the slice.
//
// The kernel says what a, b and y are, in strips of STRIP consecutive elements (y: of 4):
//   extent() -> (rows, cols)                    depth_of(slice) -> (first k, end): first a multiple of TILE_K from 0; may be empty
//   outer_a(row, slice) -> OuterA               what can be worked out of a row before the loop over k
//   load_a(OuterA, k0, k) -> strip              A_ALONG_K = 1: a[row, k .. k+STRIP];  0: a[row .. row+STRIP, k]
//   outer_b(col, slice), load_b                 B_ALONG_K = 1: b[k .. k+STRIP, col];  0: b[k, col .. col+STRIP]
//                                               k0: where the tile of k begins, the same for every lane;
//                                               past the depth one of them gives zeros, the other what is finite
//   outer_y(col, slice) -> OuterY               what can be worked out of four columns before their sums leave; col may be
//                                               past the end, or less than 4 from it
//   beside(OuterY, row, inside, slice) -> Beside  what is read there, some time before it is needed (`alone`: nothing)
//   store(OuterY, Beside, row, inside, slice, sums)  y[row, col .. col+4], if inside
//   with_row(Tally, inside, sums) ..              what becomes of whole columns of sums (`tally`; `untallied`: nothing)
//   keep_tally(OuterY, block, Tally)              four columns' tally over a block of rows: TALLY_ROWS of a tile, or all of a workgroup's turns
// and an engine multiplies tiles: keep_a, keep_b, Sums, multiply, spill, TALLY_ROWS.
// EDGES = 0: every tile is whole, and no index is checked.
// Loads stand behind no branch, so that they start together: what lies outside reads element 0 instead. Conditions are joined by
// `&`: `&&` is a branch, and SwiftShader takes time and memory that double with each in a loop.
// needs tile_scalar | tile_coop
// constants WORKGROUP=256 TILE_M=64 TILE_N=64 TILE_K=32 A_ALONG_K=1 B_ALONG_K=0 AHEAD=0 EDGES=1

// Tiles run in bands of this many rows of tiles, so that those running at one time share rows of a and columns of b in L2.
const BAND: u32 = 8u;
const STRIPS_A: u32 = TILE_M * TILE_K / STRIP / WORKGROUP;
const STRIPS_B: u32 = TILE_N * TILE_K / STRIP / WORKGROUP;

// A lane's first strip of a tile stands at (row or column, k); its further strips follow at constant distances, so that
// one address serves them all.
fn place(lane: u32, width: u32, along_k: u32) -> vec2<u32> {
    if along_k == 1u {
        return vec2(lane / (TILE_K / STRIP), lane % (TILE_K / STRIP) * STRIP);
    }
    return vec2(lane % (width / STRIP) * STRIP, lane / (width / STRIP));
}
const APART_A: u32 = A_ALONG_K * (WORKGROUP / (TILE_K / STRIP));
const APART_B: u32 = B_ALONG_K * (WORKGROUP / (TILE_K / STRIP));
const DEEPER_A: u32 = (1u - A_ALONG_K) * (WORKGROUP / (TILE_M / STRIP));
const DEEPER_B: u32 = (1u - B_ALONG_K) * (WORKGROUP / (TILE_N / STRIP));

// if called
fn inside_rows(row: u32) -> bool {
    return EDGES == 0u || row < extent().x;
}

// sums += a tile of y: rows from row0 on, columns from col0 on.
fn product(sums: ptr<function, Sums>, lane: u32, row0: u32, col0: u32, slice: u32) {
    let at_a = place(lane, TILE_M, A_ALONG_K);
    let at_b = place(lane, TILE_N, B_ALONG_K);
    var outers_a: array<OuterA, STRIPS_A>;
    var outers_b: array<OuterB, STRIPS_B>;
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        outers_a[i] = outer_a(row0 + at_a.x + i * APART_A, slice);
    }
    for (var i = 0u; i < STRIPS_B; i++) { // unroll
        outers_b[i] = outer_b(col0 + at_b.x + i * APART_B, slice);
    }
    var strips_a: array<strip, STRIPS_A>;
    var strips_b: array<strip, STRIPS_B>;
    let depth = depth_of(slice);
    if AHEAD == 1u && depth.x < depth.y {
        for (var i = 0u; i < STRIPS_A; i++) { // unroll
            strips_a[i] = load_a(outers_a[i], depth.x, depth.x + at_a.y + i * DEEPER_A);
        }
        for (var i = 0u; i < STRIPS_B; i++) { // unroll
            strips_b[i] = load_b(outers_b[i], depth.x, depth.x + at_b.y + i * DEEPER_B);
        }
    }
    for (var k0 = depth.x; k0 < depth.y; k0 += TILE_K) {
        if AHEAD == 0u {
            for (var i = 0u; i < STRIPS_A; i++) { // unroll
                strips_a[i] = load_a(outers_a[i], k0, k0 + at_a.y + i * DEEPER_A);
            }
            for (var i = 0u; i < STRIPS_B; i++) { // unroll
                strips_b[i] = load_b(outers_b[i], k0, k0 + at_b.y + i * DEEPER_B);
            }
        }
        workgroupBarrier(); // every lane is done with the last tiles
        for (var i = 0u; i < STRIPS_A; i++) { // unroll
            keep_a(at_a, i, strips_a[i]);
        }
        for (var i = 0u; i < STRIPS_B; i++) { // unroll
            keep_b(at_b, i, strips_b[i]);
        }
        workgroupBarrier();
        if AHEAD == 1u && k0 + TILE_K < depth.y {
            for (var i = 0u; i < STRIPS_A; i++) { // unroll
                strips_a[i] = load_a(outers_a[i], k0 + TILE_K, k0 + TILE_K + at_a.y + i * DEEPER_A);
            }
            for (var i = 0u; i < STRIPS_B; i++) { // unroll
                strips_b[i] = load_b(outers_b[i], k0 + TILE_K, k0 + TILE_K + at_b.y + i * DEEPER_B);
            }
        }
        multiply(&(*sums), lane, A_ALONG_K); // inline
    }
}

// if called
fn gemm(group: vec3<u32>, lane: u32) {
    let size = extent();
    let tiles = (size + vec2(TILE_M - 1u, TILE_N - 1u)) / vec2(TILE_M, TILE_N);
    let tile = group.y * tiles.y + group.x;
    let first_row = tile / (BAND * tiles.y) * BAND;
    let rows = min(BAND, tiles.x - first_row);
    let in_band = tile % (BAND * tiles.y);
    let row0 = (first_row + in_band % rows) * TILE_M;
    let col0 = in_band / rows * TILE_N;
    let slice = group.z;
    var sums: Sums;
    product(&sums, lane, row0, col0, slice); // inline
    spill(&sums, lane, row0, col0, slice); // inline
}
