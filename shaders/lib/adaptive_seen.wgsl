// x as pixels see it through the taps of a spatially adaptive convolution.
// needs adaptive

// Four columns of what a pixel sees; those past the last are 0.
fn seen_strip(pixel: Pixel, column: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let tap = (column + i) / CHANNELS;
        let y = pixel.y + i32(tap / KERNEL) - REACH;
        let x_at = pixel.x + i32(tap % KERNEL) - REACH;
        let inside = is_inside(y, x_at) & (column + i * FACTOR < COLUMNS);
        let at = ((pixel.image + u32(y) * IMAGE_W + u32(x_at)) * CHANNELS + (column + i) % CHANNELS) / FACTOR;
        loaded = with_factor(loaded, i, select(factor(), x[select(0u, at, inside)], inside));
    }
    return loaded;
}
