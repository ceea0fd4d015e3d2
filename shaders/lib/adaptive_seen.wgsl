// x as pixels see it through the taps of a spatially adaptive convolution.
// needs adaptive
// needs shares
alias Seen = array<strip, SHARES>;

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

// Of the tile of pixels from row0 on and columns from col0 on: to `shares` what goes into f, to `seen` what is to be weighed by it.
fn attend_seen(shares: ptr<function, Shares>, seen: ptr<function, Seen>, lane: u32, row0: u32, col0: u32) {
    // Under way while the attention is summed.
    for (var i = 0u; i < SHARES; i++) { // unroll
        let at = share_place(lane, i);
        (*seen)[i] = seen_strip(pixel_of(row0 + at.x), col0 + at.y);
    }
    var attention: Sums;
    product(&attention, lane, row0, col0, ATTENTION); // inline
    share_out(&attention, &(*shares), lane); // inline
    for (var i = 0u; i < SHARES; i++) { // unroll
        (*shares)[i] = with_bias((*shares)[i], col0 + share_place(lane, i).y, COLUMNS);
    }
}
