//! Parts of pictures to train on, of random size and place.

use crate::train::batches::SplitMix64;

/// The share of the picture's area that a part has, width by height of a part, and how often a part is drawn that fits.
const AREA: [f64; 2] = [0.08, 1.0];
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
const TRIES: usize = 10;

/// A part of a picture, rows and columns: inside of it, and not empty where the picture is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Its first row and column.
    pub first: [usize; 2],
    /// Its height and width.
    pub size: [usize; 2],
}

/// A part of a picture of height and width `size`, by the rule of torchvision's RandomResizedCrop: 8 to 100 % of the area, evenly, and
/// 3:4 to 4:3 as wide as high, evenly by its logarithm. Where none of ten fits, the largest of such a form, in the middle.
#[must_use]
pub fn random_crop(size: [usize; 2], random: &mut SplitMix64) -> Crop {
    let [height, width] = size.map(|side| side as f64);
    let [narrowest, widest] = RATIO.map(f64::ln);
    for _ in 0..TRIES {
        let area = height * width * between(random, AREA);
        let ratio = between(random, [narrowest, widest]).exp();
        let part = [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|side| side.round_ties_even() as usize);
        if part.iter().zip(size).all(|(&part, side)| (1..=side).contains(&part)) {
            return Crop { first: [0, 1].map(|axis| random.below(size[axis] - part[axis] + 1)), size: part };
        }
    }
    let part = match width / height {
        ratio if ratio < RATIO[0] => [(width / RATIO[0]).round_ties_even() as usize, size[1]],
        ratio if ratio > RATIO[1] => [size[0], (height * RATIO[1]).round_ties_even() as usize],
        _ => size,
    };
    Crop { first: [0, 1].map(|axis| (size[axis] - part[axis]) / 2), size: part }
}

fn between(random: &mut SplitMix64, [least, most]: [f64; 2]) -> f64 {
    // 53 bits, as many as a float holds: from 0 to just below 1.
    let part = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    least + (most - least) * part
}
