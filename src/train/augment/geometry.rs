//! Changes that move pixels, as Pillow computes them (`src/libImaging/Geometry.c`).

use std::array;
use std::ops::AddAssign;

use crate::picture::Picture;

/// What comes in from beyond the border.
const FILL: u8 = 128;

/// Bits behind the point of Pillow's places, and the places that they reach to.
const BITS: u32 = 16;
const REACH: f64 = 32_768.0;

/// What a pixel of the result is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The pixel that it lies in.
    Nearest,
    /// The 2 x 2 pixels around it.
    Bilinear,
    /// The 4 x 4 pixels around it, by a cubic that may overshoot.
    Bicubic,
}

/// Where the pixel at (x, y) comes from: along the width a x + b y + c by the first three, along the height by the others.
type Affine = [[f64; 3]; 2];

/// Turns the result around its middle, counterclockwise; `size` is height and width.
pub(super) fn rotation(degrees: f64, [height, width]: [f64; 2]) -> Affine {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    // As Python rounds: to the decimal that is nearest, of the exact binary number.
    let round = |number: f64| format!("{number:.15}").parse().unwrap_or(number);
    let (cos, sin) = (round(angle.cos()), round(angle.sin()));
    let middle = [width / 2.0, height / 2.0];
    let row = |a: f64, b: f64, axis: usize| [a, b, a * -middle[0] + b * -middle[1] + middle[axis]];
    [row(cos, sin, 0), row(-sin, cos, 1)]
}

/// Puts into every pixel what lies where the pixel's middle comes from.
pub(super) fn transform(picture: &mut Picture, affine: Affine, filter: Filter) {
    let mut moved = vec![FILL; picture.pixels.len()];
    match filter {
        Filter::Nearest => nearest(picture, affine, &mut moved),
        Filter::Bilinear => blend(picture, affine, &mut moved, |[a, b]: [f64; 2], at| a + (b - a) * at),
        Filter::Bicubic => blend(picture, affine, &mut moved, cubic),
    }
    picture.pixels = moved;
}

fn cubic([a, b, c, d]: [f64; 4], at: f64) -> f64 {
    // The order of the sums is Pillow's: another one rounds differently.
    let (first, second, third) = (-a + c, 2.0 * (a - b) + c - d, -a + b - c + d);
    b + at * (first + at * (second + at * third))
}

/// Steps from pixel to pixel: in whole numbers with 16 bits behind the point where a pixel depends on both axes and those reach, else
/// in floats.
fn nearest(picture: &Picture, affine: Affine, moved: &mut [u8]) {
    let [height, width] = picture.size.map(|side| side as f64);
    let first = affine.map(|[a, b, c]| c + a * 0.5 + b * 0.5);
    let steps = [first, affine.map(|[a, ..]| a), affine.map(|[_, b, _]| b)];
    let straight = affine[0][1] == 0.0 && affine[1][0] == 0.0;
    let corners = [[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]];
    let reached = |[x, y]: [f64; 2]| affine.iter().all(|[a, b, c]| (a * x + b * y + c).abs() < REACH);
    if straight || !corners.into_iter().all(reached) {
        walk(picture, steps, moved, |place: f64| if place < 0.0 { -1 } else { place as i64 });
    } else {
        let fixed = |number: f64| (number * f64::from(1 << BITS) + 0.5).floor() as i64;
        walk(picture, steps.map(|pair| pair.map(fixed)), moved, |place: i64| place >> BITS);
    }
}

/// `steps`: where the first pixel comes from, and how far on its right and its lower neighbor.
fn walk<T: Copy + AddAssign>(
    picture: &Picture,
    [mut first, right, down]: [[T; 2]; 3],
    moved: &mut [u8],
    whole: impl Fn(T) -> i64,
) {
    let Picture { size: [height, width], channels, ref pixels } = *picture;
    let inside = |place: T, size: usize| usize::try_from(whole(place)).ok().filter(|&place| place < size);
    let on = |place: &mut [T; 2], by: [T; 2]| place.iter_mut().zip(by).for_each(|(place, by)| *place += by);
    for row in moved.chunks_exact_mut(width * channels) {
        let mut place = first;
        for pixel in row.chunks_exact_mut(channels) {
            if let (Some(x), Some(y)) = (inside(place[0], width), inside(place[1], height)) {
                pixel.copy_from_slice(&pixels[(y * width + x) * channels..][..channels]);
            }
            on(&mut place, right);
        }
        on(&mut first, down);
    }
}

/// `between` is of so many neighbors along one axis, and how far behind the middle two's first the place is; pixels beyond the border
/// are those at it.
fn blend<const TAPS: usize>(
    picture: &Picture,
    affine: Affine,
    moved: &mut [u8],
    between: impl Fn([f64; TAPS], f64) -> f64,
) {
    let Picture { size: [height, width], channels, ref pixels } = *picture;
    // The neighbors that a place lies between, and how far it is from one to the next.
    let around = |place: f64, size: usize| {
        let before = (place - 0.5).floor();
        let neighbor =
            |tap: usize| (before as i64 + tap as i64 + 1 - TAPS as i64 / 2).clamp(0, size as i64 - 1) as usize;
        (array::from_fn::<_, TAPS, _>(neighbor), place - 0.5 - before)
    };
    for (at, pixel) in moved.chunks_exact_mut(channels).enumerate() {
        let middle = [at % width, at / width].map(|place| place as f64 + 0.5);
        let [x, y] = affine.map(|[a, b, c]| a * middle[0] + b * middle[1] + c);
        if !((0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y)) {
            continue;
        }
        let ((columns, right), (rows, down)) = (around(x, width), around(y, height));
        for (channel, number) in pixel.iter_mut().enumerate() {
            let of_row = |row: usize| {
                let number = |column| f64::from(pixels[(row * width + column) * channels + channel]);
                between(columns.map(number), right)
            };
            // The cast cuts off what is behind the point, and ends at 0 and 255.
            *number = between(rows.map(of_row), down) as u8;
        }
    }
}
