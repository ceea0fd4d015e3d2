// The sums of a scalar product, shared out among lanes: see `shares`.
// needs tile_scalar
// not with tile_coop

// A lane holds all that it summed.
const SHARES: u32 = LANE_M * CHUNKS_N;
alias Shares = array<vec4<f32>, SHARES>;

fn has_shares(lane: u32) -> bool {
    return true;
}

fn share_place(lane: u32, at: u32) -> vec2<u32> {
    let row = at / CHUNKS_N;
    return vec2(
        row / 4u * SPREAD_M + lane / LANES_N * 4u + row % 4u,
        at % CHUNKS_N * SPREAD_N + lane % LANES_N * 4u,
    );
}

fn share_out(sums: ptr<function, Sums>, shares: ptr<function, Shares>, lane: u32) {
    for (var i = 0u; i < SHARES; i++) { // unroll
        (*shares)[i] = (*sums)[i];
    }
}

// if called
fn keep_share_a(row: u32, k: u32, four: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        tile_a[(k + i) * WIDTH_A + row / 4u][row % 4u] = four[i];
    }
}

// if called
fn keep_across(row: u32, k: u32, loaded: strip) {
    tile_a[k * WIDTH_A + row / 4u] = vec4<f32>(loaded);
}

// if called
fn keep_share_b(k: u32, col: u32, four: vec4<f32>) {
    tile_b[k * WIDTH_B + col / 4u] = four;
}
