// What kernels of a spatially adaptive convolution share. Rows are pixels, columns (tap, channel of x):
//   attention[row, column] = f(patch of raw around the pixel · attention_weight[.., column] + attention_bias[column])
//   seen[row, column] = x as the pixel sees it through the tap: 0 outside of the image
// Neither ever stands in memory: tiles of them are made where they are used.
// The kernel binds raw[N, IMAGE_H, IMAGE_W, RAW], attention_weight[DEPTH, COLUMNS], attention_bias[COLUMNS] and params.batch; to see x, x[N, IMAGE_H, IMAGE_W, CHANNELS].
// needs pixels
// needs pack_1 | pack_4
// needs raw_1 | raw_4
// needs width_4
// needs map_sigmoid | map_relu | map_gelu
// constants CHANNELS=8 OUT=12 RAW=4 KERNEL=3 ATTENTION_KERNEL=7
const TAPS: u32 = KERNEL * KERNEL;
const COLUMNS: u32 = TAPS * CHANNELS;
const RAW_PACKS: u32 = 4u / RAW_PACK; // in a strip
const DEPTH: u32 = ATTENTION_KERNEL * ATTENTION_KERNEL * RAW;
const REACH: i32 = i32(KERNEL / 2u);
const ATTENTION_REACH: i32 = i32(ATTENTION_KERNEL / 2u);

// The product of patches with attention_weight, among those that a kernel makes.
const ATTENTION: u32 = 0u;

// A patch's elements k .. k+4, in the order (row, column, channel) of attention_weight.
fn patch_strip(pixel: Pixel, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < RAW_PACKS; i++) { // unroll
        let tap = (k + i) / RAW;
        let y = pixel.y + i32(tap / ATTENTION_KERNEL) - ATTENTION_REACH;
        let x_at = pixel.x + i32(tap % ATTENTION_KERNEL) - ATTENTION_REACH;
        // Taps past the last one see pixels too: the weights are 0 there.
        let inside = is_inside(y, x_at);
        let at = ((pixel.image + u32(y) * IMAGE_W + u32(x_at)) * RAW + (k + i) % RAW) / RAW_PACK;
        loaded = with_raw(loaded, i, select(raw_pack(), raw[select(0u, at, inside)], inside));
    }
    return loaded;
}

// Row k of attention_weight, columns .. column+4, 0 from `end` on.
fn attention_strip(column: u32, end: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = (column + i * FACTOR < end) & (k < DEPTH);
        let at = (k * COLUMNS + column) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), attention_weight[select(0u, at, inside)], inside));
    }
    return loaded;
}

// Before f: the sums of patches with four columns, and their bias.
fn with_bias(sums: vec4<f32>, column: u32, end: u32) -> vec4<f32> {
    var bias = vec4<f32>();
    for (var i = 0u; i < PACKS; i++) { // unroll
        if column + i * PACK < end {
            bias = with_sum_pack(bias, i, attention_bias[column / PACK + i]);
        }
    }
    return sums + bias;
}
