// product[M,N] = lhs[M,K] rhs[K,N] in f32, row-major.
// The next tile travels through registers into a second buffer while this one is multiplied: one barrier a tile.
const M: u32 = 4096u;
const N: u32 = 4096u;
const K: u32 = 4096u;
const TILE_M: u32 = 128u;
const TILE_N: u32 = 128u;
const TILE_K: u32 = 16u;
const CHUNKS_M: u32 = 2u;
const CHUNKS_N: u32 = 2u;
const GROUP: u32 = 8u;

// A lane computes CHUNKS_M x CHUNKS_N blocks of 4 x 4.
const LANES: u32 = TILE_M * TILE_N / (16u * CHUNKS_M * CHUNKS_N);
const STRIPS_K: u32 = TILE_K / 4u;
const STRIPS_M: u32 = TILE_M / 4u;
const STRIPS_N: u32 = TILE_N / 4u;
const ROWS_A: u32 = LANES / STRIPS_K;
const ROWS_B: u32 = LANES / STRIPS_N;
const LOADS_A: u32 = TILE_M / ROWS_A;
const LOADS_B: u32 = TILE_K / ROWS_B;
const BLOCKS_M: u32 = STRIPS_M / CHUNKS_M;
const BLOCKS_N: u32 = STRIPS_N / CHUNKS_N;
const_assert LANES % 32u == 0u && ROWS_A % 32u == 0u && TILE_K % ROWS_B == 0u && BLOCKS_N % 8u == 0u && TILE_K <= 32u;

@group(0) @binding(1) var<storage, read> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4<f32>>;

// tile_a is transposed, [k][m], its strips of four rows swapped about (strip ^ 2 * (k / 4)) so that writing a strip along
// k meets every bank once; tile_b is [k][n].
var<workgroup> tile_a: array<vec4<f32>, 2u * TILE_K * STRIPS_M>;
var<workgroup> tile_b: array<vec4<f32>, 2u * TILE_K * STRIPS_N>;

// Which tile this workgroup computes: GROUP rows of tiles share the columns of B that the L2 cache then holds.
fn place(group: u32) -> vec2<u32> {
    let tiles_m = M / TILE_M;
    let band = group / (GROUP * (N / TILE_N));
    let within = group % (GROUP * (N / TILE_N));
    let rows = min(GROUP, tiles_m - band * GROUP);
    return vec2(band * GROUP + within % rows, within / rows);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = place(group.x);
    // Of 32 lanes, 4 read different strips of A and 8 different strips of B; neighbours in bits 0 and 1 of the lane share
    // one or the other, which lets 16-byte reads of shared memory merge.
    let in_warp = lane % 32u;
    let warp = lane / 32u;
    let block_m = warp / (BLOCKS_N / 8u) * 4u + (in_warp & 1u) + (in_warp >> 4u) * 2u;
    let block_n = warp % (BLOCKS_N / 8u) * 8u + ((in_warp >> 1u) & 7u);

    let row_a = lane / STRIPS_K;
    let strip_k = lane % STRIPS_K;
    let row_b = lane / STRIPS_N;
    let strip_n = lane % STRIPS_N;
    let store_a = strip_k * 4u * STRIPS_M + ((row_a / 4u) ^ (2u * strip_k));
    let store_b = row_b * STRIPS_N + strip_n;
    let part = row_a % 4u;
    var at_a = (tile.x * TILE_M + row_a) * (K / 4u) + strip_k;
    var at_b = row_b * (N / 4u) + tile.y * STRIPS_N + strip_n;

    var sums: array<vec4<f32>, 4u * CHUNKS_M * CHUNKS_N>;
    var a: array<vec4<f32>, CHUNKS_M>;
    var b: array<vec4<f32>, CHUNKS_N>;
    var next_a: array<vec4<f32>, LOADS_A>;
    var next_b: array<vec4<f32>, LOADS_B>;
    var stage = 0u;
    for (var i = 0u; i < LOADS_A; i++) { // unroll
        next_a[i] = lhs[at_a + i * ROWS_A * (K / 4u)];
    }
    for (var i = 0u; i < LOADS_B; i++) { // unroll
        next_b[i] = rhs[at_b + i * ROWS_B * (N / 4u)];
    }
    var into = 0u;
    for (var i = 0u; i < LOADS_A; i++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            tile_a[store_a + into * TILE_K * STRIPS_M + j * STRIPS_M + i * (ROWS_A / 4u)][part] = next_a[i][j];
        }
    }
    for (var i = 0u; i < LOADS_B; i++) { // unroll
        tile_b[store_b + into * TILE_K * STRIPS_N + i * ROWS_B * STRIPS_N] = next_b[i];
    }
    workgroupBarrier();
    for (var k = TILE_K; k <= K; k += TILE_K) {
        // The last turn loads the last tile again, which is cheaper than a branch.
        let ahead = select(0u, 1u, k < K);
        at_a += ahead * STRIPS_K;
        at_b += ahead * TILE_K * (N / 4u);
        for (var i = 0u; i < LOADS_A; i++) { // unroll
            next_a[i] = lhs[at_a + i * ROWS_A * (K / 4u)];
        }
        for (var i = 0u; i < LOADS_B; i++) { // unroll
            next_b[i] = rhs[at_b + i * ROWS_B * (N / 4u)];
        }
        let from_a = stage * TILE_K * STRIPS_M;
        let from_b = stage * TILE_K * STRIPS_N + block_n;
        for (var k4 = 0u; k4 < STRIPS_K; k4++) { // unroll
            let strip_m = (block_m ^ (2u * k4)) + from_a;
            for (var k1 = 0u; k1 < 4u; k1++) { // unroll
                for (var i = 0u; i < CHUNKS_M; i++) { // unroll
                    a[i] = tile_a[strip_m + (4u * k4 + k1) * STRIPS_M + i * BLOCKS_M];
                }
                for (var j = 0u; j < CHUNKS_N; j++) { // unroll
                    b[j] = tile_b[from_b + (4u * k4 + k1) * STRIPS_N + j * BLOCKS_N];
                }
                for (var i = 0u; i < CHUNKS_M; i++) { // unroll
                    for (var r = 0u; r < 4u; r++) { // unroll
                        for (var j = 0u; j < CHUNKS_N; j++) { // unroll
                            let at = (4u * i + r) * CHUNKS_N + j;
                            sums[at] = fma(vec4(a[i][r]), b[j], sums[at]);
                        }
                    }
                }
            }
        }
        into = 1u - stage;
        for (var i = 0u; i < LOADS_A; i++) { // unroll
            for (var j = 0u; j < 4u; j++) { // unroll
                tile_a[store_a + into * TILE_K * STRIPS_M + j * STRIPS_M + i * (ROWS_A / 4u)][part] = next_a[i][j];
            }
        }
        for (var i = 0u; i < LOADS_B; i++) { // unroll
            tile_b[store_b + into * TILE_K * STRIPS_N + i * ROWS_B * STRIPS_N] = next_b[i];
        }
        workgroupBarrier();
        stage = into;
    }

    let row = tile.x * TILE_M + block_m * 4u;
    let strip = tile.y * STRIPS_N + block_n;
    for (var i = 0u; i < CHUNKS_M; i++) { // unroll
        for (var r = 0u; r < 4u; r++) { // unroll
            for (var j = 0u; j < CHUNKS_N; j++) { // unroll
                product[(row + i * 4u * BLOCKS_M + r) * (N / 4u) + strip + j * BLOCKS_N] = sums[(4u * i + r) * CHUNKS_N + j];
            }
        }
    }
}
