//! How the demos are trained: settings that were tried on the 8,000 embedded images, and on scenes of them.

use super::batches::Augmentation;
use super::data::Target;
use super::recompute::Recompute;
use super::samples::Samples;
use super::schedule::Schedule;
use super::trainer::Settings;
use crate::kernel::Elem;
use crate::ops::Sgd;

/// Images in a batch: half the size learns as well and takes longer.
const BATCH: usize = 50;
/// Passes over the images.
const EPOCHS: u64 = 5;
/// The learning rate at its highest, and how much weights decay.
const RATE: f64 = 0.05;
const DECAY: f64 = 5e-3;
/// The same of scenes, each of which has as much to learn from as many images.
const SCENES: usize = 10;
const EPOCHS_OF_SCENES: u64 = 6;
const RATE_OF_SCENES: f64 = 0.2;
const DECAY_OF_SCENES: f64 = 5e-4;

/// What of the recipe is to be otherwise; the default leaves it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Otherwise {
    /// Passes over the images.
    pub epochs: Option<u64>,
    /// Images in a batch.
    pub batch: Option<usize>,
    /// The learning rate at its highest.
    pub peak: Option<f64>,
}

/// SGD with momentum 0.9, a cosine from 0.05 after 50 steps of warm-up, images mirrored at random; moving them as well
/// costs accuracy in so few epochs. 5 epochs in batches of 50; of scenes 6 in batches of 10, from 0.2.
#[must_use]
pub fn demo(train: &dyn Samples, otherwise: Otherwise, seed: u64) -> Settings {
    let (batch, epochs, peak, weight_decay) = match train.target() {
        Target::Images => (BATCH, EPOCHS, RATE, DECAY),
        Target::Pixels => (SCENES, EPOCHS_OF_SCENES, RATE_OF_SCENES, DECAY_OF_SCENES),
    };
    // Asked for, more than there are is refused when batches are made.
    let batch = otherwise.batch.unwrap_or(batch.min(train.count().max(1)));
    let steps = otherwise.epochs.unwrap_or(epochs).saturating_mul((train.count() / batch.max(1)) as u64);
    let peak = otherwise.peak.unwrap_or(peak);
    Settings {
        elem: Elem::F32,
        recompute: Recompute::Nothing,
        batch,
        seed,
        steps,
        schedule: Schedule::Cosine { peak, warm_up: 50.min(steps / 4), steps },
        optimizer: Sgd { momentum: 0.9, weight_decay, nesterov: true }.into(),
        augmentation: Augmentation { flip: true, ..Augmentation::default() },
        checkpoint: None,
    }
}
