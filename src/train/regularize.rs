//! What a step leaves out at random: which images skip which residual block, which features are dropped. A pure function of the run's seed and the step, so that a
//! run that resumes leaves out what it would have left out.

use super::batches::SplitMix64;
use super::error::TrainError;
use crate::gpu::Executor;
use crate::models::{DROPOUT, Regularization, SURVIVAL};

/// Tells these numbers from those that images are shuffled and augmented by.
const DEPTH: u64 = 0x6465_7074_685f_706c;
const DROP: u64 = 0x6472_6f70_6f75_745f;

/// The share of images for which block `at` of so many is computed, counted from 1: p_l = 1 - l / L (1 - p_L).
#[must_use]
pub fn share(last: f64, [at, blocks]: [usize; 2]) -> f64 {
    1.0 - at as f64 / blocks as f64 * (1.0 - last)
}

/// What the branches of each block are multiplied by in a step of a run, of each image: `[images, blocks]` numbers, 1 / p_l or 0.
#[must_use]
pub fn survival(last: f64, [images, blocks]: [usize; 2], [seed, step]: [u64; 2]) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(images * blocks);
    for image in 0..images {
        let mut random = SplitMix64::of(&[DEPTH, seed, step, image as u64]);
        for at in 1..=blocks {
            let share = share(last, [at, blocks]);
            // The 53 bits that f64 holds, of [0, 1).
            let drawn = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            numbers.push(if drawn < share { (1.0 / share) as f32 } else { 0.0 });
        }
    }
    numbers
}

/// What decides which features are dropped in a step of a run: four words of 16 bits.
#[must_use]
pub fn dropout([seed, step]: [u64; 2]) -> [u32; 4] {
    let bits = SplitMix64::of(&[DROP, seed, step]).next_u64();
    [0, 16, 32, 48].map(|from| u32::from((bits >> from) as u16))
}

/// Tells a training step what it leaves out, by the run's seed and its own number.
pub(super) fn write(executor: &Executor, regularization: Regularization, run: [u64; 2]) -> Result<(), TrainError> {
    let plan = executor.plan();
    let shape = |name: &str| plan.find(name).and_then(|value| plan.tensor(value)).map(|tensor| tensor.shape.dims());
    if let (Some(last), Some(sizes)) = (regularization.depth, shape(SURVIVAL)) {
        executor.write_f32(SURVIVAL, &survival(last, sizes, run))?;
    }
    if regularization.dropout.is_some() {
        executor.write_u32(DROPOUT, &dropout(run))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fall_in_a_straight_line_to_the_last() {
        let shares = [1, 2, 3, 4, 5].map(|at| share(0.9, [at, 5]));
        for (share, wanted) in shares.into_iter().zip([0.98, 0.96, 0.94, 0.92, 0.9]) {
            assert!((share - wanted).abs() < 1e-12, "{shares:?}");
        }
    }

    #[test]
    fn so_many_images_skip_a_block_as_should() {
        let (images, blocks, steps) = (64, 5, 200);
        let mut survive = [0; 5];
        for step in 0..steps {
            for (at, &number) in survival(0.5, [images, blocks], [7, step]).iter().enumerate() {
                let share = share(0.5, [at % blocks + 1, blocks]) as f32;
                assert!(number == 0.0 || (number * share - 1.0).abs() < 1e-6, "{number} is neither 0 nor 1 / {share}");
                survive[at % blocks] += u32::from(number > 0.0);
            }
        }
        let count = images as f64 * steps as f64;
        for (at, &survive) in (1..).zip(&survive) {
            let share = share(0.5, [at, blocks]);
            // Five standard deviations of a binomial count.
            let allowed = 5.0 * (share * (1.0 - share) * count).sqrt();
            assert!((f64::from(survive) - share * count).abs() < allowed, "block {at}: {survive} of {count}");
        }
    }

    #[test]
    fn seed_step_image_and_block_all_matter_and_nothing_else() {
        let of = |seed, step| survival(0.5, [32, 4], [seed, step]);
        assert_eq!(of(1, 2), of(1, 2));
        assert!(of(1, 2) != of(1, 3) && of(1, 2) != of(2, 2));
        let numbers = of(1, 2);
        let pattern = |at: usize| numbers[at..at + 4].iter().map(|&number| number > 0.0).collect::<Vec<_>>();
        assert!((1..32).any(|image| pattern(4 * image) != pattern(0)), "all images are alike");
        assert!(dropout([1, 2]) == dropout([1, 2]) && dropout([1, 2]) != dropout([1, 3]));
        assert!(dropout([1, 2]) != dropout([2, 2]) && dropout([1, 2]).iter().all(|&word| word < 1 << 16));
        // Images of a larger batch skip what they skip in a smaller one.
        assert_eq!(survival(0.5, [8, 4], [1, 2])[..], of(1, 2)[..32]);
    }
}
