//! The accuracy of a linear classifier on the CPU: what a network has to beat.

use rayon::prelude::*;

use super::batches::{Augmentation, Batches, Normalization};
use super::data::{DataError, Images};

const BATCH: usize = 200;
const EPOCHS: u64 = 20;
const LEARNING_RATE: f32 = 0.02;
const MOMENTUM: f32 = 0.9;
const WEIGHT_DECAY: f32 = 1e-3;
/// Images whose gradient one task sums. Fixed, and the sums are added in order, so that the number of threads does not
/// show in the bits.
const IMAGES_PER_TASK: usize = 25;

/// A multinomial logistic regression: `softmax(weight x + bias)`.
struct Linear {
    /// `[classes, elems + 1]`; the last column is the bias, whose input is 1.
    weight: Vec<f32>,
    elems: usize,
    classes: usize,
}

/// The share of `test` that a multinomial logistic regression, trained on the normalized pixels of `train` by SGD with
/// momentum, a falling learning rate and weight decay, puts into the right class. The same bits on every run.
///
/// Fails where either part contradicts itself, or the two differ in shape or classes.
pub fn linear_baseline(train: &Images, test: &Images, seed: u64) -> Result<f64, DataError> {
    let describe = |images: &Images| {
        let Images { height, width, channels, classes, .. } = images;
        format!("{height} x {width} x {channels} pixels in {classes} classes")
    };
    if describe(train) != describe(test) {
        let (found, expected) = (describe(test), describe(train));
        return Err(DataError::Shape { what: "test images of the linear baseline".into(), found, expected });
    }
    let normalization = Normalization::of(&train.pixels);
    let batches = Batches::new(train, normalization, BATCH.min(train.count()), seed, Augmentation::default())?;
    let (elems, classes) = (train.elems_per_image(), train.classes);
    let mut model = Linear { weight: vec![0.0; classes * (elems + 1)], elems, classes };
    let mut velocity = vec![0.0; model.weight.len()];
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for epoch in 0..EPOCHS {
        let order = batches.epoch(epoch);
        // Linear decay to a tenth lets the last epochs average the noise of small batches away.
        let rate = LEARNING_RATE * (1.0 - 0.9 * epoch as f32 / (EPOCHS - 1) as f32);
        for at in 0..batches.count() {
            order.batch(at, &mut pixels, &mut labels)?;
            let gradient = model.gradient(&pixels, &labels);
            let scale = 1.0 / labels.len() as f32;
            for ((weight, velocity), gradient) in model.weight.iter_mut().zip(&mut velocity).zip(gradient) {
                *velocity = MOMENTUM * *velocity + gradient * scale + WEIGHT_DECAY * *weight;
                *weight -= rate * *velocity;
            }
        }
    }
    let batches = Batches::new(test, normalization, test.count(), seed, Augmentation::default())?;
    batches.evaluation_batch(0, &mut pixels, &mut labels)?;
    Ok(model.correct(&pixels, &labels) as f64 / test.count() as f64)
}

impl Linear {
    /// The scores of one image, `[classes]`.
    fn scores(&self, image: &[f32]) -> Vec<f32> {
        self.weight.chunks_exact(self.elems + 1).map(|row| dot(row, image) + row[self.elems]).collect()
    }

    /// The gradient of the summed cross entropy by `weight`, and in its layout.
    fn gradient(&self, pixels: &[f32], labels: &[u32]) -> Vec<f32> {
        let tasks = pixels.par_chunks(IMAGES_PER_TASK * self.elems).zip(labels.par_chunks(IMAGES_PER_TASK));
        let parts: Vec<Vec<f32>> = tasks.map(|(pixels, labels)| self.gradient_of_task(pixels, labels)).collect();
        let mut sum = vec![0.0; self.weight.len()];
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sum
    }

    fn gradient_of_task(&self, pixels: &[f32], labels: &[u32]) -> Vec<f32> {
        let mut gradient = vec![0.0; self.weight.len()];
        for (image, &label) in pixels.chunks_exact(self.elems).zip(labels) {
            let scores = self.scores(image);
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
            for (class, row) in gradient.chunks_exact_mut(self.elems + 1).enumerate() {
                let target = if class == label as usize { 1.0 } else { 0.0 };
                let slope = (scores[class] - most).exp() / sum - target;
                row[self.elems] += slope;
                row.iter_mut().zip(image).for_each(|(sum, pixel)| *sum += slope * pixel);
            }
        }
        gradient
    }

    /// How many images score highest in their own class.
    fn correct(&self, pixels: &[f32], labels: &[u32]) -> usize {
        let images = pixels.par_chunks_exact(self.elems).zip(labels);
        images
            .filter(|(image, label)| {
                let scores = self.scores(image);
                let best = (0..self.classes).max_by(|&one, &other| scores[one].total_cmp(&scores[other]));
                best == Some(**label as usize)
            })
            .count()
    }
}

/// The sum of products over the shorter length; eight sums at a time, because one alone waits for each addition.
fn dot(row: &[f32], image: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (row, image) = (row.chunks(8), image.chunks(8));
    for (row, image) in row.zip(image) {
        for ((sum, weight), pixel) in sums.iter_mut().zip(row).zip(image) {
            *sum += weight * pixel;
        }
    }
    sums.iter().sum()
}
