// The sums of cooperative matrices, shared out among lanes: see `shares`. Fragments tell nobody what they hold; they leave through
// memory as they do in `spill`, so that a lane gets what it would store there.
// needs tile_coop
// not with pack_8 tile_scalar
const SHARES: u32 = FRAGMENTS_M * (FRAGMENTS_N / SPILL) * SPILL_TURNS;
alias Shares = array<vec4<f32>, SHARES>;

// Of small fragments some lanes take none.
fn has_shares(lane: u32) -> bool {
    return lane % SUBGROUP / SPILL_STRIPS < SPILL_ROWS;
}

fn share_place(lane: u32, at: u32) -> vec2<u32> {
    let subgroup = lane / SUBGROUP;
    let fragment = vec2(at / SPILL_TURNS % FRAGMENTS_M, at / (SPILL_TURNS * FRAGMENTS_M) * SPILL) * FRAGMENT;
    let block = vec2(subgroup / SUBGROUPS_N * FRAGMENTS_M, subgroup % SUBGROUPS_N * FRAGMENTS_N) * FRAGMENT;
    let own = lane % SUBGROUP;
    return block + fragment + vec2(at % SPILL_TURNS * SPILL_ROWS + own / SPILL_STRIPS, own % SPILL_STRIPS * 4u);
}

fn share_out(sums: ptr<function, Sums>, shares: ptr<function, Shares>, lane: u32) {
    let first = lane / SUBGROUP * SPILLED;
    let own = first + lane % SUBGROUP / SPILL_STRIPS % SPILL_ROWS * SPILL_WIDTH + lane % SUBGROUP % SPILL_STRIPS;
    let stride = SPILL_WIDTH;
    for (var j = 0u; j < FRAGMENTS_N / SPILL; j++) { // unroll
        for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
            for (var side = 0u; side < SPILL; side++) { // unroll
                // naga 30 panics on arguments of coopStoreT that are no plain names.
                let part = (*sums)[i * FRAGMENTS_N + j * SPILL + side];
                let at = first + side * (FRAGMENT / 4u);
                coopStoreT(part, &spilled[at], stride);
            }
            workgroupBarrier();
            for (var turn = 0u; turn < SPILL_TURNS; turn++) { // unroll
                (*shares)[(j * FRAGMENTS_M + i) * SPILL_TURNS + turn] = spilled[own + turn * SPILL_ROWS * SPILL_WIDTH];
            }
            workgroupBarrier(); // spilled is reused by the next fragments
        }
    }
}

// if called
fn keep_share_a(row: u32, k: u32, four: vec4<f32>) {
    tile_a[row * WIDTH_A + k / 4u].lo = elem4(four);
}

// if called
fn keep_across(row: u32, k: u32, loaded: strip) {
    tile_a[k * WIDTH_ACROSS + row / STRIP] = kept(loaded);
}

// if called
fn keep_share_b(k: u32, col: u32, four: vec4<f32>) {
    tile_b[k * WIDTH_B + col / 4u].lo = elem4(four);
}
