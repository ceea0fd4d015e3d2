// The scalar engine: each lane sums LANE_M x LANE_N products in f32, as strips along the columns.
// constants LANE_M=4 LANE_N=4

// One strip of padding a row: strips along k are scattered over rows, and would meet in a memory bank.
const WIDTH_A: u32 = TILE_M / 4u + 1u;
const WIDTH_B: u32 = TILE_N / 4u + 1u;
const LANES_N: u32 = TILE_N / LANE_N;
const CHUNKS_M: u32 = LANE_M / 4u;
const CHUNKS_N: u32 = LANE_N / 4u;
// A lane's chunks of 4 stand this far apart, so that neighbours read neighbouring strips.
const SPREAD_M: u32 = TILE_M / CHUNKS_M;
const SPREAD_N: u32 = TILE_N / CHUNKS_N;

alias Sums = array<vec4<f32>, LANE_M * CHUNKS_N>;

// [k][row] and [k][col], widened once.
var<workgroup> tile_a: array<vec4<f32>, TILE_K * WIDTH_A>;
var<workgroup> tile_b: array<vec4<f32>, TILE_K * WIDTH_B>;

fn keep_a(at: vec2<u32>, strip_at: u32, loaded: strip) {
    let wide = vec4<f32>(loaded);
    if A_ALONG_K == 1u {
        for (var i = 0u; i < 4u; i++) { // unroll
            tile_a[(at.y + i) * WIDTH_A + at.x / 4u + strip_at * (APART_A / 4u)][at.x % 4u] = wide[i];
        }
    } else {
        tile_a[at.y * WIDTH_A + at.x / 4u + strip_at * (DEEPER_A * WIDTH_A)] = wide;
    }
}

fn keep_b(at: vec2<u32>, strip_at: u32, loaded: strip) {
    let wide = vec4<f32>(loaded);
    if B_ALONG_K == 1u {
        for (var i = 0u; i < 4u; i++) { // unroll
            tile_b[(at.y + i) * WIDTH_B + at.x / 4u + strip_at * (APART_B / 4u)][at.x % 4u] = wide[i];
        }
    } else {
        tile_b[at.y * WIDTH_B + at.x / 4u + strip_at * (DEEPER_B * WIDTH_B)] = wide;
    }
}

fn multiply(sums: ptr<function, Sums>, lane: u32) {
    let at_m = lane / LANES_N;
    let at_n = lane % LANES_N;
    for (var k = 0u; k < TILE_K; k++) {
        var a: array<vec4<f32>, CHUNKS_M>;
        var b: array<vec4<f32>, CHUNKS_N>;
        for (var i = 0u; i < CHUNKS_M; i++) { // unroll
            a[i] = tile_a[k * WIDTH_A + i * (SPREAD_M / 4u) + at_m];
        }
        for (var j = 0u; j < CHUNKS_N; j++) { // unroll
            b[j] = tile_b[k * WIDTH_B + j * (SPREAD_N / 4u) + at_n];
        }
        for (var i = 0u; i < LANE_M; i++) { // unroll
            for (var j = 0u; j < CHUNKS_N; j++) { // unroll
                let at = i * CHUNKS_N + j;
                (*sums)[at] = fma(vec4<f32>(a[i / 4u][i % 4u]), b[j], (*sums)[at]);
            }
        }
    }
}

fn spill(sums: ptr<function, Sums>, lane: u32, row0: u32, col0: u32, slice: u32) {
    let at_m = lane / LANES_N;
    let at_n = lane % LANES_N;
    for (var j = 0u; j < CHUNKS_N; j++) { // unroll
        let outer = outer_y(col0 + j * SPREAD_N + at_n * 4u, slice);
        var besides: array<Beside, LANE_M>;
        for (var i = 0u; i < LANE_M; i++) { // unroll
            let row = row0 + i / 4u * SPREAD_M + at_m * 4u + i % 4u;
            besides[i] = beside(outer, row, inside_rows(row), slice);
        }
        for (var i = 0u; i < LANE_M; i++) { // unroll
            let row = row0 + i / 4u * SPREAD_M + at_m * 4u + i % 4u;
            store(outer, besides[i], row, inside_rows(row), slice, (*sums)[i * CHUNKS_N + j]);
        }
    }
}
