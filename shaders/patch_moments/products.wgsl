// partial = patchesᵀ · patches over a slice of the pixels; patches are those of raw - origin, and the last row is the sums of patches.
// Row and column = (row, column, channel of a patch), k = pixel. Beyond the image raw is 0, hence what is centered -origin.
// One workgroup a tile of one slice.
// needs elem_f32
// needs pack_1
// needs alone
// needs untallied
// needs pixels
// needs gemm
// constants RAW=4 ATTENTION_KERNEL=7

struct Params { batch: u32, slice_pixels: u32 } // slice_pixels: a multiple of TILE_K
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> centered: array<f32>; // [N, IMAGE_H, IMAGE_W, RAW]
@group(0) @binding(2) var<storage, read> origin: array<f32>; // [RAW]
@group(0) @binding(3) var<storage, read_write> partial: array<f32>; // [slices, DEPTH + 1, DEPTH]

const DEPTH: u32 = ATTENTION_KERNEL * ATTENTION_KERNEL * RAW;
const ATTENTION_REACH: i32 = i32(ATTENTION_KERNEL / 2u);

struct OuterA { row: u32 }
struct OuterB { col: u32 }
struct OuterY { col: u32 }

fn extent() -> vec2<u32> {
    return vec2(DEPTH + 1u, DEPTH);
}
fn depth_of(slice: u32) -> vec2<u32> {
    let first = slice * params.slice_pixels;
    return vec2(first, min(first + params.slice_pixels, pixels()));
}

// A number of a pixel's patch.
fn number_of(pixel: Pixel, at: u32) -> f32 {
    let place = at / RAW;
    let y = pixel.y + i32(place / ATTENTION_KERNEL) - ATTENTION_REACH;
    let x = pixel.x + i32(place % ATTENTION_KERNEL) - ATTENTION_REACH;
    let inside = is_inside(y, x);
    let seen = ((pixel.image + u32(y) * IMAGE_W + u32(x)) * RAW) + at % RAW;
    return select(-origin[at % RAW], centered[select(0u, seen, inside)], inside);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    let pixel = pixel_of(k);
    var loaded = strip();
    for (var i = 0u; i < 4u; i++) { // unroll
        let number = select(number_of(pixel, outer.row + i), 1.0, outer.row + i == DEPTH);
        loaded[i] = select(0.0, number, k < pixels());
    }
    return loaded;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    let pixel = pixel_of(k);
    var loaded = strip();
    for (var i = 0u; i < 4u; i++) { // unroll
        loaded[i] = number_of(pixel, outer.col + i);
    }
    return loaded;
}

fn outer_y(col: u32, slice: u32) -> OuterY {
    return OuterY(col);
}
fn store(outer: OuterY, none: Beside, row: u32, inside: bool, slice: u32, sums: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        if inside & (outer.col + i < DEPTH) {
            partial[(slice * (DEPTH + 1u) + row) * DEPTH + outer.col + i] = sums[i];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    gemm(group, lane);
}
