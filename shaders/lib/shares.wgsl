// A product one of whose factors is made of another product's sums, a tile at a time: it never stands in memory.
// After `product`, sums are shared out among lanes; they make the factor of them, and `left_product` or `right_product` multiplies.
//
// The engine's lanes hold SHARES fours each, side by side in a row, at the same places of every product's tile:
//   share_place(lane, at) -> (row, column)      has_shares(lane): whether the lane has any
//   share_out(&sums, &shares, lane)             in uniform control flow
//   keep_share_a(row, k, four), keep_share_b(k, col, four)  four of a factor's row into its tile
//   keep_across(row, k, strip)                  four rows of the first factor, at one k, into its tile
// needs gemm
// needs shares_scalar | shares_coop
const_assert A_ALONG_K == 1u && B_ALONG_K == 0u;
const DEEPER_ACROSS: u32 = WORKGROUP / (TILE_M / STRIP);

// sums += shares b: columns of the shares are k, from `first` on; b as `load_b` has it, columns from col0 on.
// if called
fn left_product(sums: ptr<function, Sums>, shares: ptr<function, Shares>, lane: u32, first: u32, col0: u32, slice: u32) {
    let at_a = place(lane, TILE_M, A_ALONG_K);
    let at_b = place(lane, TILE_N, B_ALONG_K);
    var outers_b: array<OuterB, STRIPS_B>;
    for (var i = 0u; i < STRIPS_B; i++) { // unroll
        outers_b[i] = outer_b(col0 + at_b.x + i * APART_B, slice);
    }
    for (var k0 = 0u; k0 < min(TILE_N, depth_of(slice).y - first); k0 += TILE_K) {
        var strips_b: array<strip, STRIPS_B>;
        for (var i = 0u; i < STRIPS_B; i++) { // unroll
            strips_b[i] = load_b(outers_b[i], first + k0, first + k0 + at_b.y + i * DEEPER_B);
        }
        workgroupBarrier(); // every lane is done with the last tiles
        for (var i = 0u; i < SHARES; i++) { // unroll
            let at = share_place(lane, i);
            if has_shares(lane) & (at.y / TILE_K == k0 / TILE_K) {
                keep_share_a(at.x, at.y % TILE_K, (*shares)[i]);
            }
        }
        if TILE_N < TILE_K && at_a.y >= TILE_N {
            for (var i = 0u; i < STRIPS_A; i++) { // unroll
                keep_a(at_a, i, strip());
            }
        }
        for (var i = 0u; i < STRIPS_B; i++) { // unroll
            keep_b(at_b, i, strips_b[i]);
        }
        workgroupBarrier();
        multiply(&(*sums), lane, A_ALONG_K); // inline
    }
}

// Rows k0 .. k0+TILE_K of the shares become the tile of the right factor, whose k they are.
// if called
fn keep_right(shares: ptr<function, Shares>, lane: u32, k0: u32) {
    workgroupBarrier(); // every lane is done with the last tiles
    for (var i = 0u; i < SHARES; i++) { // unroll
        let at = share_place(lane, i);
        if has_shares(lane) & (at.x / TILE_K == k0 / TILE_K) {
            keep_share_b(at.x % TILE_K, at.y, (*shares)[i]);
        }
    }
    let at_b = place(lane, TILE_N, B_ALONG_K);
    for (var i = 0u; i < STRIPS_B; i++) { // unroll
        if TILE_M < TILE_K && at_b.y + i * DEEPER_B >= TILE_M {
            keep_b(at_b, i, strip());
        }
    }
}

// A tile of the first factor across, on its way: `load_across` has four of its rows at one k.
alias Across = array<strip, STRIPS_A>;

// if called
fn load_tile_across(ahead: ptr<function, Across>, lane: u32, row0: u32, first: u32, slice: u32) {
    let at = place(lane, TILE_M, 0u);
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        (*ahead)[i] = load_across(row0 + at.x, first + at.y + i * DEEPER_ACROSS, slice);
    }
}

// sums += the tile that is on its way times what is kept of the shares; the next one, of rows from row0 on and k from `first`
// on, is then on its way.
// if called
fn right_product(sums: ptr<function, Sums>, ahead: ptr<function, Across>, lane: u32, row0: u32, first: u32, slice: u32) {
    let at = place(lane, TILE_M, 0u);
    workgroupBarrier(); // every lane is done with the last tile of a
    for (var i = 0u; i < STRIPS_A; i++) { // unroll
        keep_across(at.x, at.y + i * DEEPER_ACROSS, (*ahead)[i]);
    }
    workgroupBarrier();
    load_tile_across(&(*ahead), lane, row0, first, slice); // inline
    multiply(&(*sums), lane, 0u); // inline
}
