// partial of dweight = (attention ⊙ seen)ᵀ · dy over a slice of the pixels: `add_slices` adds them.
// One workgroup a tile of columns (tap, channel) x HELD tiles of output channels, which are the rows here. The attention of a tile of
// pixels is a product of its own, whose sums the lanes turn into a right factor.
// needs elem_f32 | elem_f16
// needs alone
// needs untallied
// needs adaptive_seen
// constants HELD=2

struct Params { batch: u32, slice_pixels: u32 } // slice_pixels: a multiple of TILE_M
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> raw: array<raw_pack>;
@group(0) @binding(3) var<storage, read> attention_weight: array<factor>;
@group(0) @binding(4) var<storage, read> attention_bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> dy: array<factor>;
@group(0) @binding(6) var<storage, read_write> partial: array<f32>; // [slices, COLUMNS, OUT]

// The product of dy, transposed, with x as it was weighed.
const WEIGHT: u32 = 1u;

struct OuterA { row: u32, pixel: Pixel, slice: u32 }
struct OuterB { col: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(OUT, COLUMNS);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, select(pixels(), DEPTH, slice == ATTENTION));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, pixel_of(row), slice);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return patch_strip(outer.pixel, k);
    }
    // An output channel of four pixels.
    var loaded = strip();
    for (var i = 0u; i < 4u; i++) { // unroll
        let inside = (outer.row < OUT) & (k + i < pixels());
        let at = (k + i) * OUT + outer.row;
        loaded[i] = select(elem(), element_of(dy[select(0u, at / FACTOR, inside)], outer.row), inside);
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    return attention_strip(outer.col, COLUMNS, k);
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        if inside & (outer.col + i < COLUMNS) {
            partial[(slice * COLUMNS + outer.col + i) * OUT + row] = sums[i];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * (HELD * TILE_M);
    let col0 = group.x * TILE_N;
    let begin = group.z * params.slice_pixels;
    let end = min(begin + params.slice_pixels, pixels());
    var sums: array<Sums, HELD>;
    for (var first = begin; first < end; first += TILE_M) {
        var seen: Seen;
        var shares: Shares;
        attend_seen(&shares, &seen, lane, first, col0); // inline
        for (var i = 0u; i < SHARES; i++) { // unroll
            shares[i] = f(shares[i]) * vec4<f32>(seen[i]);
        }
        for (var tile = 0u; tile < HELD; tile++) { // unroll
            right_product(&sums[tile], &shares, lane, row0 + tile * TILE_M, first, WEIGHT); // inline
        }
    }
    for (var tile = 0u; tile < HELD; tile++) { // unroll
        spill(&sums[tile], lane, row0 + tile * TILE_M, col0, group.z); // inline
    }
}
