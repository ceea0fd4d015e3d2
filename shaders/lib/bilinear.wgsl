// Pixels between others, where the center of a pixel lies half a side in: pixel `at` of `out_size` lies at
// ((2 at + 1) size / out_size - 1) / 2, counted in `size` pixels, and not before the first. In whole numbers, so that no place is
// ever taken for its neighbor.
struct Between { first: u32, share: f32 } // the pixel before the place, and what the one behind it gives
fn between(at: u32, size: u32, out_size: u32) -> Between {
    let place = max((2u * at + 1u) * size, out_size) - out_size; // in parts of a pixel, 2 out_size of them
    return Between(place / (2u * out_size), f32(place % (2u * out_size)) / f32(2u * out_size));
}
