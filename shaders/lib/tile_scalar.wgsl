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

// Lanes down a tile share its columns, and tally them all.
const TALLY_ROWS: u32 = TILE_M;
const TALLY_PARTS: u32 = TILE_M / LANE_M;

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

// The tile of the first factor lies one way, however strips come.
fn multiply(sums: ptr<function, Sums>, lane: u32, a_along_k: u32) {
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

// if called
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
        var own = Tally();
        for (var i = 0u; i < LANE_M; i++) { // unroll
            let row = row0 + i / 4u * SPREAD_M + at_m * 4u + i % 4u;
            store(outer, besides[i], row, inside_rows(row), slice, (*sums)[i * CHUNKS_N + j]);
            own = with_row(own, inside_rows(row), (*sums)[i * CHUNKS_N + j]);
        }
        if TALLY == 1u {
            let all = tally_of_all(own, lane, row0);
            if at_m == 0u {
                keep_tally(outer, row0 / TALLY_ROWS, all);
            }
        }
    }
}

// To the lanes of a tile's first rows: the tally of their columns over all of them.
// if called
fn tally_of_all(own: Tally, lane: u32, row0: u32) -> Tally {
    workgroupBarrier(); // tiles are done with, and hold tallies now
    tile_a[lane] = mean_of(own);
    tile_b[lane] = m2_of(own);
    workgroupBarrier();
    var all = Tally();
    if lane < LANES_N {
        for (var part = 0u; part < TALLY_PARTS; part++) {
            let at = part * LANES_N + lane;
            all = with_rows(all, f32(part_rows(part, row0)), tile_a[at], tile_b[at]);
        }
    }
    return all;
}

// Rows inside of those that one part has of a tile that begins at a row.
// if called
fn part_rows(part: u32, row0: u32) -> u32 {
    if EDGES == 0u {
        return LANE_M;
    }
    var rows = 0u;
    for (var chunk = 0u; chunk < CHUNKS_M; chunk++) {
        let first = row0 + chunk * SPREAD_M + part * 4u;
        rows += min(max(extent().x, first) - first, 4u);
    }
    return rows;
}
