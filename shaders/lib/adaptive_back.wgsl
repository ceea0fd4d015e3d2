// What comes back through the weight of a spatially adaptive convolution: back[row, column] = dy[row, ..] · turned[.., column].
// The kernel binds dy[N, IMAGE_H, IMAGE_W, OUT] and turned[OUT, COLUMNS], the weight with its last axis first.
// needs adaptive

// The product of dy with turned.
const BACK: u32 = 1u;

// dy's channels k .. k+4 at a pixel; 0 past the last, and outside of the image.
fn dy_strip(pixel: Pixel, k: u32) -> strip {
    let row = pixel.image + u32(pixel.y) * IMAGE_W + u32(pixel.x);
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = (pixel.y >= 0) & (k + i < OUT);
        let at = (row * OUT + k) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), dy[select(0u, at, inside)], inside));
    }
    return loaded;
}

// Row k of turned, columns .. column+4, 0 from `end` on.
fn turned_strip(column: u32, end: u32, k: u32) -> strip {
    var loaded = strip();
    for (var i = 0u; i < FACTORS; i++) { // unroll
        let inside = (column + i * FACTOR < end) & (k < OUT);
        let at = (k * COLUMNS + column) / FACTOR + i;
        loaded = with_factor(loaded, i, select(factor(), turned[select(0u, at, inside)], inside));
    }
    return loaded;
}
