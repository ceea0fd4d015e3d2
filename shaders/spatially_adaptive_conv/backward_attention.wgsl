// partial of dattention_weight = patchesᵀ · dz and of dattention_bias = sum of dz over a slice of the pixels; dz = f'(z) ⊙ seen ⊙ back,
// z = patches · attention_weight + attention_bias. `add_slices` adds them.
// One workgroup a tile of columns (tap, channel) x HELD tiles of a patch's numbers, which are the rows here, and of one number more,
// which is 1: its sums are the bias's. z and back of a tile of pixels are products of their own; of them lanes make a right factor.
// needs elem_f32 | elem_f16
// needs alone
// needs untallied
// needs adaptive_seen
// needs adaptive_back
// constants HELD=2

struct Params { batch: u32, slice_pixels: u32 } // slice_pixels: a multiple of TILE_M
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<factor>;
@group(0) @binding(2) var<storage, read> raw: array<raw_pack>;
@group(0) @binding(3) var<storage, read> attention_weight: array<factor>;
@group(0) @binding(4) var<storage, read> attention_bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> turned: array<factor>; // [OUT, COLUMNS]
@group(0) @binding(6) var<storage, read> dy: array<factor>;
@group(0) @binding(7) var<storage, read_write> partial_weight: array<sum_pack>; // [slices, DEPTH, COLUMNS]
@group(0) @binding(8) var<storage, read_write> partial_bias: array<sum_pack>; // [slices, COLUMNS]

// The product of patches, transposed, with dz.
const WEIGHT: u32 = 2u;

struct OuterA { row: u32, pixel: Pixel, slice: u32 }
struct OuterB { col: u32, slice: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(DEPTH + 1u, COLUMNS);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, select(select(pixels(), OUT, slice == BACK), DEPTH, slice == ATTENTION));
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, pixel_of(row), slice);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return patch_strip(outer.pixel, k);
    }
    if outer.slice == BACK {
        return dy_strip(outer.pixel, k);
    }
    // A number of four pixels' patches.
    let place = outer.row / RAW;
    let reach = vec2(i32(place / ATTENTION_KERNEL), i32(place % ATTENTION_KERNEL)) - ATTENTION_REACH;
    var loaded = strip();
    for (var i = 0u; i < 4u; i++) { // unroll
        let pixel = pixel_of(k + i);
        let y = pixel.y + reach.x;
        let x_at = pixel.x + reach.y;
        // Rows past the last see pixels too: their sums go nowhere.
        let inside = is_inside(y, x_at);
        let at = (pixel.image + u32(y) * IMAGE_W + u32(x_at)) * RAW + outer.row % RAW;
        let number = select(elem(), raw_element(raw[select(0u, at / RAW_PACK, inside)], outer.row), inside);
        loaded[i] = select(number, elem(1), outer.row == DEPTH);
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return attention_strip(outer.col, COLUMNS, k);
    }
    return turned_strip(outer.col, COLUMNS, k);
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < PACKS; i++) { // unroll
        if inside & (outer.col + i * PACK < COLUMNS) {
            if row == DEPTH {
                partial_bias[(slice * COLUMNS + outer.col) / PACK + i] = sum_pack_of(sums, i);
            } else {
                partial_weight[((slice * DEPTH + row) * COLUMNS + outer.col) / PACK + i] = sum_pack_of(sums, i);
            }
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
            shares[i] = df(shares[i]) * vec4<f32>(seen[i]);
        }
        var back: Sums;
        product(&back, lane, first, col0, BACK); // inline
        var slopes: Shares;
        share_out(&back, &slopes, lane); // inline
        for (var i = 0u; i < SHARES; i++) { // unroll
            shares[i] *= slopes[i];
        }
        for (var tile = 0u; tile < HELD; tile++) { // unroll
            right_product(&sums[tile], &shares, lane, row0 + tile * TILE_M, first, WEIGHT); // inline
        }
    }
    for (var tile = 0u; tile < HELD; tile++) { // unroll
        spill(&sums[tile], lane, row0 + tile * TILE_M, col0, group.z); // inline
    }
}
