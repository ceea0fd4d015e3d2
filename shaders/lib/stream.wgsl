// y[row, col] = sum over k of a[row, k] b[k, col], with the hooks of `gemm`, where sums are so short that b's columns stay in
// registers: what takes time is reading a and writing y, and a workgroup does nothing else, tile of rows by tile of rows.
// One workgroup TURNS tiles of TILE_M rows (y), one after the other, x TILE_N columns (x) of a slice (z). The next rows are under
// way while these are multiplied, and what is read beside them. A lane stores the same four columns all the time.
// Sums are no longer than TILE_K, and a lies along k.
// needs fragment_8 | fragment_16
// not with elem_f32
// constants WORKGROUP=128 SUBGROUP=32 TILE_M=32 TILE_N=64 TILE_K=64 A_ALONG_K=1 B_ALONG_K=0 EDGES=1 TURNS=2
enable wgpu_cooperative_matrix;
const_assert A_ALONG_K == 1u;

const SUBGROUPS: u32 = WORKGROUP / SUBGROUP;
const FRAGMENTS_M: u32 = TILE_M / FRAGMENT;
const FRAGMENTS_N: u32 = TILE_N / SUBGROUPS / FRAGMENT;
const STEPS: u32 = TILE_K / FRAGMENT;

// A tile of rows, and before all rows one step of b's columns at a time. In strips; 8 elements of padding a line, without which
// fragments load at half the speed. Fragments count lines in units of what they point at: four elements.
const LINE_STRIPS: u32 = TILE_K / STRIP; // of a row
const WIDTH_A: u32 = (TILE_K + 8u) / STRIP;
const WIDTH_B: u32 = (B_ALONG_K * FRAGMENT + (1u - B_ALONG_K) * TILE_N + 8u) / STRIP;
const LINES_B: u32 = B_ALONG_K * TILE_N + (1u - B_ALONG_K) * FRAGMENT;
const LINE_A: u32 = WIDTH_A * (STRIP / 4u);
const LINE_B: u32 = WIDTH_B * (STRIP / 4u);
var<workgroup> tile: array<Kept, max(TILE_M * WIDTH_A, LINES_B * WIDTH_B)>;
const STRIPS_A: u32 = TILE_M * LINE_STRIPS / WORKGROUP; // of a lane
const ROWS_APART: u32 = WORKGROUP / LINE_STRIPS; // of its strips
const STRIPS_B: u32 = FRAGMENT * TILE_N / STRIP; // of a step
const_assert STRIPS_A * ROWS_APART == TILE_M;

// Sums leave through memory, FRAGMENT rows at a time.
const FOURS: u32 = TILE_N / 4u;
const SPILL_WIDTH: u32 = FOURS + 1u; // rows of a fragment meet in memory banks otherwise
const SPILL_ROWS: u32 = WORKGROUP / FOURS; // that lanes store at once
const SPILL_TURNS: u32 = FRAGMENT / SPILL_ROWS;
const_assert SPILL_TURNS * SPILL_ROWS == FRAGMENT;
var<workgroup> spilled: array<vec4<f32>, max(FRAGMENT * SPILL_WIDTH, TALLY * 2u * WORKGROUP)>;

fn strip_of(row0: u32, i: u32, lane: u32, slice: u32) -> strip {
    return load_a(outer_a(row0 + lane / LINE_STRIPS + i * ROWS_APART, slice), 0u, lane % LINE_STRIPS * STRIP);
}

// One step of b's columns, into the tile.
fn keep_columns(step: u32, col0: u32, lane: u32, slice: u32) {
    for (var i = lane; i < STRIPS_B; i += WORKGROUP) {
        let k0 = step * FRAGMENT;
        if B_ALONG_K == 1u {
            let col = i / (FRAGMENT / STRIP);
            let k = i % (FRAGMENT / STRIP) * STRIP;
            tile[col * WIDTH_B + k / STRIP] = kept(load_b(outer_b(col0 + col, slice), k0, k0 + k));
        } else {
            let k = i / (TILE_N / STRIP);
            let col = i % (TILE_N / STRIP) * STRIP;
            tile[k * WIDTH_B + col / STRIP] = kept(load_b(outer_b(col0 + col, slice), k0, k0 + k));
        }
    }
}

fn fragment_b(col: u32) -> FragmentB {
    if B_ALONG_K == 1u {
        return coopLoad<FragmentB>(&tile[col * WIDTH_B].lo, LINE_B);
    }
    return coopLoadT<FragmentB>(&tile[col / STRIP].lo, LINE_B);
}

fn gemm(group: vec3<u32>, lane: u32) {
    let slice = group.z;
    let col0 = group.x * TILE_N;
    let begin = group.y * (TURNS * TILE_M);
    let rows = extent().x;
    let end = min(begin + TURNS * TILE_M, rows);
    let subgroup_col = lane / SUBGROUP * FRAGMENTS_N * FRAGMENT;

    var strips: array<strip, STRIPS_A>;
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        strips[i] = strip_of(begin, i, lane, slice);
    }
    var columns: array<FragmentB, STEPS * FRAGMENTS_N>;
    for (var step = 0u; step < STEPS; step++) { // unroll
        keep_columns(step, col0, lane, slice);
        workgroupBarrier();
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            columns[step * FRAGMENTS_N + j] = fragment_b(subgroup_col + j * FRAGMENT);
        }
        workgroupBarrier(); // the tile is overwritten by the next step, or rows
    }

    let outer = outer_y(col0 + lane % FOURS * 4u, slice);
    let first_row = lane / FOURS;
    var besides: array<Beside, FRAGMENTS_M * SPILL_TURNS>;
    for (var i = 0u; i < FRAGMENTS_M * SPILL_TURNS; i++) { // unroll
        let row = begin + first_row + i * SPILL_ROWS;
        besides[i] = beside(outer, row, (EDGES == 0u) | (row < rows), slice);
    }
    var own = Tally();
    for (var row0 = begin; row0 < end; row0 += TILE_M) {
        for (var i = 0u; i < STRIPS_A; i++) { // unroll
            tile[(lane / LINE_STRIPS + i * ROWS_APART) * WIDTH_A + lane % LINE_STRIPS] = kept(strips[i]);
        }
        workgroupBarrier();
        let next = select(row0, row0 + TILE_M, row0 + TILE_M < end); // behind the last rows there need be none
        for (var i = 0u; i < STRIPS_A; i++) { // unroll
            strips[i] = strip_of(next, i, lane, slice);
        }
        var coming: array<Beside, FRAGMENTS_M * SPILL_TURNS>;
        for (var i = 0u; i < FRAGMENTS_M * SPILL_TURNS; i++) { // unroll
            let row = next + first_row + i * SPILL_ROWS;
            coming[i] = beside(outer, row, (EDGES == 0u) | (row < rows), slice);
        }

        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            var sums: array<FragmentSum, FRAGMENTS_N>;
            for (var step = 0u; step < STEPS; step++) { // unroll
                let at = i * FRAGMENT * WIDTH_A + step * (FRAGMENT / STRIP);
                let a = coopLoadT<FragmentA>(&tile[at].lo, LINE_A);
                for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
                    sums[j] = coopMultiplyAdd(a, columns[step * FRAGMENTS_N + j], sums[j]);
                }
            }
            for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
                // naga 30 panics on arguments of coopStoreT that are no plain names.
                let part = sums[j];
                let at = (subgroup_col + j * FRAGMENT) / 4u;
                let line = SPILL_WIDTH;
                coopStoreT(part, &spilled[at], line);
            }
            workgroupBarrier();
            for (var turn = 0u; turn < SPILL_TURNS; turn++) { // unroll
                let four = spilled[(first_row + turn * SPILL_ROWS) * SPILL_WIDTH + lane % FOURS];
                let row = row0 + first_row + (i * SPILL_TURNS + turn) * SPILL_ROWS;
                let inside = (EDGES == 0u) | (row < rows);
                store(outer, besides[i * SPILL_TURNS + turn], row, inside, slice, four);
                own = with_row(own, inside, four);
            }
            if i + 1u < FRAGMENTS_M {
                workgroupBarrier(); // spilled is overwritten by the next fragments; after the last, rows come first
            }
        }
        besides = coming;
    }
    if TALLY == 1u {
        workgroupBarrier();
        spilled[lane] = mean_of(own);
        spilled[lane + WORKGROUP] = m2_of(own);
        workgroupBarrier();
        if lane < FOURS {
            var all = Tally();
            for (var part = 0u; part < SPILL_ROWS; part++) {
                // Every SPILL_ROWS-th row is a part's.
                let count = f32((end - begin + SPILL_ROWS - 1u - part) / SPILL_ROWS);
                all = with_rows(all, count, spilled[lane + part * FOURS], spilled[lane + part * FOURS + WORKGROUP]);
            }
            keep_tally(outer, group.y, all);
        }
    }
}
