// Products of a tile's rows with tokens, over channels, into `blocks` [row block, part of the channels, token block]. Subgroups hold
// the tokens of their part of the channels in registers. SIDES = 2: half of the subgroups multiply by tokens of their own.
// needs attend_rows
// constants SIDES=1
const MOST_STEPS: u32 = max(DEPTH, WIDTH) / DEPTH_PARTS / FRAGMENT;
const SIDE_SUBGROUPS: u32 = SUBGROUPS / SIDES;
// Blocks of rows, or of a part of their channels, that a subgroup multiplies.
const SIDE_SHARE: u32 = ROW_BLOCKS * DEPTH_PARTS / SIDE_SUBGROUPS;
const_assert SIDE_SHARE * SIDE_SUBGROUPS == ROW_BLOCKS * DEPTH_PARTS && SIDE_SUBGROUPS % DEPTH_PARTS == 0u;
alias Known = array<FragmentB, TOKEN_BLOCKS * FRAGMENTS * MOST_STEPS>;

// Takes a block of tokens of so many channels that stand from `first_row` of `rows_tile` on.
fn know(known: ptr<function, Known>, token_block: u32, channels: u32, first_row: u32, subgroup: u32) {
    let first_channel = subgroup % DEPTH_PARTS * (channels / DEPTH_PARTS);
    for (var i = 0u; i < FRAGMENTS * MOST_STEPS; i++) { // unroll
        if i % MOST_STEPS * FRAGMENT < channels / DEPTH_PARTS {
            let at = (first_row + i / MOST_STEPS * FRAGMENT) * ROW_STRIPS + (first_channel + i % MOST_STEPS * FRAGMENT) / STRIP;
            (*known)[token_block * FRAGMENTS * MOST_STEPS + i] = coopLoad<FragmentB>(&rows_tile[at].lo, ROW_LINE);
        }
    }
}

// The rows that stand from `first_row` of `rows_tile` on times the tokens, before they are scaled; from `first_block` of `blocks` on.
fn add_products(known: ptr<function, Known>, channels: u32, first_row: u32, first_block: u32, subgroup: u32) {
    let first_channel = subgroup % DEPTH_PARTS * (channels / DEPTH_PARTS);
    for (var n = 0u; n < SIDE_SHARE; n++) { // unroll
        let block = subgroup % SIDE_SUBGROUPS + n * SIDE_SUBGROUPS;
        let row = first_row + block / DEPTH_PARTS * BLOCK;
        var products: array<FragmentSum, TOKEN_BLOCKS * FRAGMENTS * FRAGMENTS>;
        for (var step = 0u; step < MOST_STEPS; step++) { // unroll
            if step * FRAGMENT < channels / DEPTH_PARTS {
                for (var r = 0u; r < FRAGMENTS; r++) { // unroll
                    let at = (row + r * FRAGMENT) * ROW_STRIPS + (first_channel + step * FRAGMENT) / STRIP;
                    let of_rows = coopLoadT<FragmentA>(&rows_tile[at].lo, ROW_LINE);
                    for (var t = 0u; t < TOKEN_BLOCKS * FRAGMENTS; t++) { // unroll
                        products[t * FRAGMENTS + r] = coopMultiplyAdd(of_rows, (*known)[t * MOST_STEPS + step], products[t * FRAGMENTS + r]);
                    }
                }
            }
        }
        for (var s = 0u; s < TOKEN_BLOCKS * FRAGMENTS * FRAGMENTS; s++) { // unroll
            // naga 30 panics on arguments of coopStoreT that are no plain names.
            let part = products[s];
            let t = s / FRAGMENTS;
            let inside = s % FRAGMENTS * FRAGMENT * BLOCK_LINE + t % FRAGMENTS * (FRAGMENT / 4u);
            let at = (first_block + block * TOKEN_BLOCKS + t / FRAGMENTS) * BLOCK_SIZE + inside;
            let line = BLOCK_LINE;
            coopStoreT(part, &blocks[at], line);
        }
    }
}

// Four neighboring numbers of such products: of a row with tokens from four times `group` on.
fn products_of(row: u32, group: u32, first_block: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; part < DEPTH_PARTS; part++) { // unroll
        let block = first_block + (row / BLOCK * DEPTH_PARTS + part) * TOKEN_BLOCKS + group / BLOCK_LINE;
        sum += blocks[block * BLOCK_SIZE + row % BLOCK * BLOCK_LINE + group % BLOCK_LINE];
    }
    return sum;
}
