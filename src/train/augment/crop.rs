//! Parts of pictures to train on, of random size and place.

use crate::train::batches::SplitMix64;

/// Width by height of a part, beside those of what it becomes, and how often a part is drawn until one fits.
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

/// A part of a picture of height and width `size` that becomes one of height and width `seen`, by the rule of torchvision's
/// RandomResizedCrop: a share of the area between those of `area`, evenly, and 3:4 to 4:3 as wide as high beside what `seen` is, evenly by its
/// logarithm. Where none of ten fits, the largest of such a form, in the middle.
#[must_use]
pub fn random_crop(size: [usize; 2], seen: [usize; 2], area: [f64; 2], random: &mut SplitMix64) -> Crop {
    let [height, width] = size.map(|side| side as f64);
    let own = seen[1] as f64 / seen[0].max(1) as f64;
    let [narrow, wide] = RATIO.map(|ratio| ratio * own);
    for _ in 0..TRIES {
        let area = height * width * between(random, area);
        let ratio = between(random, [narrow.ln(), wide.ln()]).exp();
        let part = [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|side| side.round_ties_even() as usize);
        if part.iter().zip(size).all(|(&part, side)| (1..=side).contains(&part)) {
            return Crop { first: [0, 1].map(|axis| random.below(size[axis] - part[axis] + 1)), size: part };
        }
    }
    let part = match width / height {
        ratio if ratio < narrow => [width / narrow, width],
        ratio if ratio > wide => [height, height * wide],
        _ => [height, width],
    };
    let part = [0, 1].map(|axis| (part[axis].round_ties_even() as usize).clamp(1, size[axis].max(1)));
    Crop { first: [0, 1].map(|axis| size[axis].saturating_sub(part[axis]) / 2), size: part }
}

fn between(random: &mut SplitMix64, [least, most]: [f64; 2]) -> f64 {
    // 53 bits, as many as a float holds: from 0 to just below 1.
    let part = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    least + (most - least) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_within_have_their_area_and_are_nearly_as_wide_as_high() {
        for (size, seen) in [([60, 80], [32, 32]), ([80, 60], [32, 32]), ([90, 90], [16, 32])] {
            let mut areas = Vec::new();
            for seed in 0..500 {
                let Crop { first, size: part } = random_crop(size, seen, [0.08, 1.0], &mut SplitMix64::of(&[seed]));
                assert!(
                    (0..2).all(|axis| part[axis] > 0 && first[axis] + part[axis] <= size[axis]),
                    "{first:?} {part:?}"
                );
                let ratio = part[1] as f64 / part[0] as f64 / (seen[1] as f64 / seen[0] as f64);
                assert!((0.65..1.55).contains(&ratio), "{part:?} of {size:?}");
                areas.push((part[0] * part[1]) as f64 / (size[0] * size[1]) as f64);
            }
            let mean = areas.iter().sum::<f64>() / 500.0;
            let [least, most] = [f64::min, f64::max].map(|of| areas.iter().copied().reduce(of).unwrap_or(0.0));
            assert!(least > 0.06 && least < 0.12 && most > 0.65 && (0.3..0.6).contains(&mean), "{least} {mean} {most}");
        }
    }

    #[test]
    fn of_a_picture_in_which_no_part_lies_the_middle_is_seen() {
        let part = |size| {
            let Crop { first, size } = random_crop(size, [32, 32], [1.0; 2], &mut SplitMix64::of(&[3]));
            (first, size)
        };
        assert_eq!(part([30, 300]), ([0, 130], [30, 40]));
        assert_eq!(part([300, 30]), ([130, 0], [40, 30]));
        assert_eq!(part([1, 1]), ([0, 0], [1, 1]));
    }
}
