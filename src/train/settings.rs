//! All that decides how a model is trained.

use std::path::PathBuf;

use super::accumulate::MicroBatch;
use super::batches::Augmentation;
use super::optimizer::Optimizer;
use super::recompute::Recompute;
use super::schedule::Schedule;
use super::step::StepOptions;
use super::teacher::Distilled;
use crate::kernel::Elem;
use crate::models::Regularization;

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What images, activations and gradients are held in: f32, or f16 for mixed precision ([`step`](super::step)).
    pub elem: Elem,
    /// The blocks that the backward pass makes again instead of keeping them. Changes no bit: a run may go on with others.
    pub recompute: Recompute,
    /// Images in a batch, or where several are one step in each of these micro-batches.
    pub batch: usize,
    /// How many micro-batches are one step; 1 for none but whole batches. Weights move once, by the mean of their gradients; statistics of
    /// batch normalization are of each by itself, and the loss is the mean of theirs.
    pub accumulate: u32,
    /// Where initial weights, the order of images and their augmentation come from.
    pub seed: u64,
    /// Steps in all.
    pub steps: u64,
    /// The learning rate.
    pub schedule: Schedule,
    /// The update.
    pub optimizer: Optimizer,
    /// What happens to training images.
    pub augmentation: Augmentation,
    /// How much of each label is given to all classes alike ([`CrossEntropy::smoothing`](crate::ops::CrossEntropy::smoothing)), 0 to 1.
    pub smoothing: f64,
    /// How much of the moving averages of weights and running averages is kept from step to step ([`Average`](crate::ops::Average)), 0 to 1.
    /// Where there is a number, the averages are what is scored.
    pub ema: Option<f64>,
    /// What is left out at random.
    pub regularization: Regularization,
    /// What is learned of a teacher.
    pub distillation: Option<Distilled>,
    /// What checkpoints note of the recipe beside the settings themselves, in one line; mostly nothing.
    pub note: String,
    /// Where to save, and after how many steps each time; also when training is stopped or done.
    pub checkpoint: Option<(PathBuf, u64)>,
}

impl Settings {
    /// What a step is made of, or the last of its micro-batches.
    pub(super) fn step(&self) -> StepOptions {
        let Self { elem, smoothing, ema, regularization, accumulate, .. } = *self;
        let (recompute, distillation) = (self.recompute.clone(), self.distillation.clone());
        let micro_batch = if accumulate > 1 { MicroBatch::Last { of: accumulate } } else { MicroBatch::Whole };
        StepOptions { elem, recompute, smoothing, ema, regularization, distillation, micro_batch }
    }

    /// Images of a step: of all its micro-batches.
    #[must_use]
    pub fn images_of_step(&self) -> usize {
        self.batch.saturating_mul(self.accumulate.max(1) as usize)
    }

    /// What two runs that end in the same weights have in common, beside batch, seed and images.
    pub(super) fn recipe(&self) -> String {
        let Self {
            schedule,
            optimizer,
            augmentation,
            elem,
            smoothing,
            ema,
            regularization,
            distillation,
            accumulate,
            note,
            ..
        } = self;
        let mixed = if *elem == Elem::F16 { " mixed precision" } else { "" };
        // What is not asked for is not said, so that runs of before one could ask can be continued.
        let smoothed = if *smoothing == 0.0 { String::new() } else { format!(" smoothing {smoothing:?}") };
        let said =
            |name: &str, number: Option<f64>| number.map(|number| format!(" {name} {number:?}")).unwrap_or_default();
        let averaged = said("averaged", *ema);
        let (deep, dropped) = (said("depth", regularization.depth), said("dropout", regularization.dropout));
        let taught = distillation.as_ref().map(|Distilled { share, temperature, teacher }| {
            format!(" distillation {share:?} temperature {temperature:?} teacher {:016x}", teacher.digest())
        });
        let taught = taught.unwrap_or_default();
        let gathered = if *accumulate > 1 { format!(" accumulated {accumulate}") } else { String::new() };
        let noted = if note.is_empty() { String::new() } else { format!(" {note}") };
        let asked = [averaged, deep, dropped, taught, gathered, noted].concat();
        format!("{schedule:?} {optimizer:?} {augmentation:?}{mixed}{smoothed}{asked}")
    }
}
