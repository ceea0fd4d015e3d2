// y = (attention ⊙ seen) · weight; attention = f(patches of raw · attention_weight + attention_bias), seen = x through the taps.
// One workgroup a tile of pixels x HELD tiles of output channels. TILE_N columns (tap, channel) at a time: their attention is a product
// of its own, whose sums the lanes turn into a left factor of y's.
// needs elem_f32 | elem_f16
// needs alone
// needs untallied
// needs adaptive_seen
// constants HELD=2

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> raw: array<raw_pack>;
@group(0) @binding(3) var<storage, read> attention_weight: array<factor>;
@group(0) @binding(4) var<storage, read> attention_bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> weight: array<factor>; // [COLUMNS, OUT]
@group(0) @binding(6) var<storage, read_write> y: array<pack>;

// The product whose sums are y.
const OUTPUT: u32 = 1u;

// Whether no column of weight is past the end, and no row: a tile of k may be deeper than the columns whose attention is there.
const INSIDE: bool = EDGES == 0u && TILE_K <= TILE_N;

struct OuterA { pixel: Pixel }
struct OuterB { col: u32, slice: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(pixels(), OUT);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, select(COLUMNS, DEPTH, slice == ATTENTION));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(pixel_of(row));
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    return patch_strip(outer.pixel, k);
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return attention_strip(outer.col, COLUMNS, k);
    }
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = INSIDE | ((outer.col + i * FACTOR < OUT) & (k < COLUMNS));
        let at = (k * OUT + outer.col) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), weight[select(0u, at, inside)], inside));
    }
    return loaded;
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & (outer.col + i * PACK < OUT) {
            y[(row * OUT + outer.col) / PACK + i] = pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE_M;
    let col0 = group.x * (HELD * TILE_N);
    var sums: array<Sums, HELD>;
    for (var first = 0u; first < COLUMNS; first += TILE_N) {
        var seen: Seen;
        var shares: Shares;
        attend_seen(&shares, &seen, lane, row0, first); // inline
        for (var i = 0u; i < SHARES; i++) { // unroll
            shares[i] = f(shares[i]) * vec4<f32>(seen[i]);
        }
        for (var tile = 0u; tile < HELD; tile++) { // unroll
            left_product(&sums[tile], &shares, lane, first, col0 + tile * TILE_N, OUTPUT); // inline
        }
    }
    for (var tile = 0u; tile < HELD; tile++) { // unroll
        spill(&sums[tile], lane, row0, col0 + tile * TILE_N, OUTPUT); // inline
    }
}
