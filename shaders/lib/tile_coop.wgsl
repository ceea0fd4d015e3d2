// The cooperative-matrix engine: SUBGROUPS_M x SUBGROUPS_N subgroups, each sums a block of fragments, f16 into f32.
// needs fragment_8 | fragment_16
// not with elem_f32
// constants SUBGROUP=32 SUBGROUPS_M=2 SUBGROUPS_N=2 SPILL=1 A_BOTH=0
enable wgpu_cooperative_matrix;

const FRAGMENTS_M: u32 = TILE_M / SUBGROUPS_M / FRAGMENT;
const FRAGMENTS_N: u32 = TILE_N / SUBGROUPS_N / FRAGMENT;
const STEPS: u32 = TILE_K / FRAGMENT;

// Tiles lie as strips come: along k, or along rows and columns. In strips; 8 elements of padding a line, without
// which fragments load at half the speed.
const WIDTH_A: u32 = (A_ALONG_K * TILE_K + (1u - A_ALONG_K) * TILE_M + 8u) / STRIP;
const WIDTH_B: u32 = (B_ALONG_K * TILE_K + (1u - B_ALONG_K) * TILE_N + 8u) / STRIP;
// Fragments count lines in units of what they point at: four elements.
const LINE_A: u32 = WIDTH_A * (STRIP / 4u);
const LINE_B: u32 = WIDTH_B * (STRIP / 4u);
const LINES_A: u32 = A_ALONG_K * TILE_M + (1u - A_ALONG_K) * TILE_K;
const LINES_B: u32 = B_ALONG_K * TILE_N + (1u - B_ALONG_K) * TILE_K;
// A_BOTH = 1: the first factor lies along k in some products, and along rows, in lines of so many strips, in others (`shares`).
const WIDTH_ACROSS: u32 = (TILE_M + 8u) / STRIP;
var<workgroup> tile_a: array<Kept, max(LINES_A * WIDTH_A, A_BOTH * TILE_K * WIDTH_ACROSS)>;
var<workgroup> tile_b: array<Kept, LINES_B * WIDTH_B>;

// Sums leave fragments only through memory: SPILL fragments side by side of a subgroup at a time. The more memory a workgroup
// takes, the fewer of them run at a time.
const SPILL_STRIPS: u32 = SPILL * FRAGMENT / 4u;
// Rows of one fragment meet in memory banks two by two; those of two would all meet, without a strip of padding.
const SPILL_WIDTH: u32 = SPILL_STRIPS + SPILL - 1u;
const SPILL_ROWS: u32 = min(SUBGROUP / SPILL_STRIPS, FRAGMENT); // at a time; of small fragments some lanes take none
const SPILL_TURNS: u32 = FRAGMENT / SPILL_ROWS;
const_assert SPILL_ROWS > 0u && FRAGMENTS_N % SPILL == 0u;
// Tallies meet there too, of two vectors a lane.
const SPILLED: u32 = max(FRAGMENT * SPILL_WIDTH, TALLY * 2u * SPILL_ROWS * SPILL_STRIPS);
var<workgroup> spilled: array<vec4<f32>, SUBGROUPS_M * SUBGROUPS_N * SPILLED>;

// A subgroup tallies its own rows.
const TALLY_ROWS: u32 = FRAGMENTS_M * FRAGMENT;

alias Sums = array<FragmentSum, FRAGMENTS_M * FRAGMENTS_N>;

fn keep_a(at: vec2<u32>, strip_at: u32, loaded: strip) {
    if A_ALONG_K == 1u {
        tile_a[at.x * WIDTH_A + at.y / STRIP + strip_at * (APART_A * WIDTH_A)] = kept(loaded);
    } else {
        tile_a[at.y * WIDTH_A + at.x / STRIP + strip_at * (DEEPER_A * WIDTH_A)] = kept(loaded);
    }
}

fn keep_b(at: vec2<u32>, strip_at: u32, loaded: strip) {
    if B_ALONG_K == 1u {
        tile_b[at.x * WIDTH_B + at.y / STRIP + strip_at * (APART_B * WIDTH_B)] = kept(loaded);
    } else {
        tile_b[at.y * WIDTH_B + at.x / STRIP + strip_at * (DEEPER_B * WIDTH_B)] = kept(loaded);
    }
}

fn fragment_along(row: u32, k: u32) -> FragmentA {
    return coopLoadT<FragmentA>(&tile_a[row * WIDTH_A + k / STRIP].lo, LINE_A);
}
fn fragment_across(row: u32, k: u32) -> FragmentA {
    return coopLoad<FragmentA>(&tile_a[k * WIDTH_ACROSS + row / STRIP].lo, WIDTH_ACROSS * (STRIP / 4u));
}

fn fragment_b(k: u32, col: u32) -> FragmentB {
    if B_ALONG_K == 1u {
        return coopLoad<FragmentB>(&tile_b[col * WIDTH_B + k / STRIP].lo, LINE_B);
    }
    return coopLoadT<FragmentB>(&tile_b[k * WIDTH_B + col / STRIP].lo, LINE_B);
}

// a_along_k: how the first factor's tile lies.
fn multiply(sums: ptr<function, Sums>, lane: u32, a_along_k: u32) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let col = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    for (var step = 0u; step < STEPS; step++) { // unroll
        var a: array<FragmentA, FRAGMENTS_M>;
        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            if a_along_k == 1u {
                a[i] = fragment_along(row + i * FRAGMENT, step * FRAGMENT);
            } else {
                a[i] = fragment_across(row + i * FRAGMENT, step * FRAGMENT);
            }
        }
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            let b = fragment_b(step * FRAGMENT, col + j * FRAGMENT);
            for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
                (*sums)[i * FRAGMENTS_N + j] = coopMultiplyAdd(a[i], b, (*sums)[i * FRAGMENTS_N + j]);
            }
        }
    }
}

// if called
fn spill(sums: ptr<function, Sums>, lane: u32, row0: u32, col0: u32, slice: u32) {
    let subgroup = lane / SUBGROUP;
    let y = lane % SUBGROUP / SPILL_STRIPS;
    let x = lane % SUBGROUP % SPILL_STRIPS;
    let row = row0 + subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT + y;
    let col = col0 + subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT + x * 4u;
    let first = subgroup * SPILLED;
    let stride = SPILL_WIDTH;
    for (var j = 0u; j < FRAGMENTS_N / SPILL; j++) { // unroll
        let outer = outer_y(col + j * SPILL * FRAGMENT, slice);
        var besides: array<Beside, FRAGMENTS_M * SPILL_TURNS>;
        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            for (var turn = 0u; turn < SPILL_TURNS; turn++) { // unroll
                let at = row + i * FRAGMENT + turn * SPILL_ROWS;
                besides[i * SPILL_TURNS + turn] = beside(outer, at, inside_rows(at), slice);
            }
        }
        var own = Tally();
        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            for (var side = 0u; side < SPILL; side++) { // unroll
                // naga 30 panics on arguments of coopStoreT that are no plain names.
                let part = (*sums)[i * FRAGMENTS_N + j * SPILL + side];
                let at = first + side * (FRAGMENT / 4u);
                coopStoreT(part, &spilled[at], stride);
            }
            workgroupBarrier();
            if y < SPILL_ROWS {
                for (var turn = 0u; turn < SPILL_TURNS; turn++) { // unroll
                    let four = spilled[first + (turn * SPILL_ROWS + y) * SPILL_WIDTH + x];
                    let at = row + i * FRAGMENT + turn * SPILL_ROWS;
                    store(outer, besides[i * SPILL_TURNS + turn], at, inside_rows(at), slice, four);
                    own = with_row(own, inside_rows(at), four);
                }
            }
            workgroupBarrier(); // spilled is reused by the next fragments
        }
        if TALLY == 1u {
            let all = tally_of_all(own, lane, row - y);
            if y == 0u {
                keep_tally(outer, row / TALLY_ROWS, all);
            }
        }
    }
}

// To the lanes of a subgroup's first row, row0: the tally of their columns over all of its rows.
// if called
fn tally_of_all(own: Tally, lane: u32, row0: u32) -> Tally {
    let place = lane / SUBGROUP * SPILLED + lane % SUBGROUP;
    let tallies = SPILL_ROWS * SPILL_STRIPS;
    if lane % SUBGROUP < tallies {
        spilled[place] = mean_of(own);
        spilled[place + tallies] = m2_of(own);
    }
    workgroupBarrier();
    var all = Tally();
    if lane % SUBGROUP < SPILL_STRIPS {
        for (var part = 0u; part < SPILL_ROWS; part++) {
            let at = place + part * SPILL_STRIPS;
            all = with_rows(all, f32(part_rows(part, row0)), spilled[at], spilled[at + tallies]);
        }
    }
    workgroupBarrier(); // spilled is reused by the next columns
    return all;
}

// Rows inside of those that one part has of a block that begins at a row: every SPILL_ROWS-th one.
// if called
fn part_rows(part: u32, row0: u32) -> u32 {
    if EDGES == 0u {
        return TALLY_ROWS / SPILL_ROWS;
    }
    let rows = min(max(extent().x, row0) - row0, TALLY_ROWS);
    return (rows + SPILL_ROWS - 1u - part) / SPILL_ROWS;
}
