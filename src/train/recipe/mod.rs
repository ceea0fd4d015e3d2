//! Recipes: all that is chosen before a model is trained. The demo's was tried on the 8,000 embedded images and on scenes of them; two are
//! the paper's, as far as it states them: what it does not state is ours, and [`Recipe::choices`] says so.

mod choices;
mod parts;
mod rates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::augment::Reading;
use super::batches::Augmentation;
use super::data::Target;
use super::optimizer::{Optimizer, Rule};
use super::recompute::Recompute;
use super::samples::Samples;
use super::schedule::{Schedule, Then};
use super::settings::Settings;
use super::teacher::{Distilled, Teacher};
use crate::kernel::Elem;
use crate::models::Regularization;
use crate::ops::{RmsProp, Sgd};

pub use choices::Choice;
pub use parts::{Augment, Kind, Part};
pub use rates::{Shape, Span};

/// All that is chosen before a model is trained, beside model, images, seed and machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which it was made from.
    pub kind: Kind,
    /// Passes over the images.
    pub epochs: u64,
    /// Images in a batch.
    pub batch: usize,
    /// How many batches are one step ([`Settings::accumulate`]).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: u32,
    /// How weights are updated.
    pub optimizer: Optimizer,
    /// The learning rate at its highest. It is not scaled with the batch.
    pub peak: f64,
    /// How long it rises to there, in a straight line.
    pub warm_up: Span,
    /// Where it rises from; `None` reaches the peak in equal steps from 0, of which the first is taken.
    pub from: Option<f64>,
    /// How it goes on from there.
    pub shape: Shape,
    /// How much of each label is given to all classes alike.
    pub smoothing: f64,
    /// What happens to training images.
    pub augment: Augment,
    /// By how many pixels they are moved at most.
    pub shift: u8,
    /// How much of the moving average of the weights is kept from step to step.
    pub ema: Option<f64>,
    /// The share of features that are dropped before the last layer.
    pub dropout: Option<f64>,
    /// The share of images for which the last block is computed; those before it more often.
    pub depth: Option<f64>,
    /// The teacher's share of the loss.
    pub distillation: Option<f64>,
    /// What logits are divided by before they are compared with the teacher's; 1 is left out of what is noted.
    #[serde(default = "unchanged", skip_serializing_if = "is_unchanged")]
    pub temperature: f64,
}

/// The temperature at which logits are what they are.
const fn unchanged() -> f64 {
    1.0
}

fn is_unchanged(temperature: &f64) -> bool {
    *temperature == unchanged()
}

/// What of a recipe is to be otherwise; the default leaves it alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Otherwise {
    /// Passes over the images.
    pub epochs: Option<u64>,
    /// Images in a batch.
    pub batch: Option<usize>,
    /// How many batches are one step.
    pub accumulate: Option<u32>,
    /// The learning rate at its highest.
    pub peak: Option<f64>,
    /// How long it rises to there.
    pub warm_up: Option<Span>,
    /// How it goes on from there.
    pub shape: Option<Shape>,
    /// How much of each label is given to all classes alike.
    pub smoothing: Option<f64>,
    /// What happens to training images.
    pub augment: Option<Augment>,
    /// By how many pixels they are moved at most.
    pub shift: Option<u8>,
    /// How much of the moving average of the weights is kept from step to step.
    pub ema: Option<f64>,
    /// The share of features that are dropped before the last layer.
    pub dropout: Option<f64>,
    /// The share of images for which the last block is computed.
    pub depth: Option<f64>,
    /// The teacher's share of the loss.
    pub distillation: Option<f64>,
    /// What logits are divided by before they are compared with the teacher's.
    pub temperature: Option<f64>,
    /// Parts that are left out.
    pub without: Vec<Part>,
}

/// Why a recipe cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// There is nobody to learn of.
    #[error("recipe {kind} learns of a teacher: give --teacher FILE, or leave it out by `--without distillation`")]
    Untaught {
        /// The recipe.
        kind: &'static str,
    },
    /// Nothing is to be learned of the teacher.
    #[error("recipe {kind} learns of no teacher: leave --teacher out, or give it --distillation SHARE, such as 0.8")]
    Unheard {
        /// The recipe.
        kind: &'static str,
    },
    /// The rate never reaches its peak.
    #[error("the warm-up takes {warm_up} steps and all of training {steps}: give less --warm-up or more --epochs")]
    WarmUp {
        /// Its steps.
        warm_up: u64,
        /// All steps.
        steps: u64,
    },
    /// Labels would have to move with their pixels.
    #[error("AutoAugment moves pixels and not their labels: to segment, give --augment flip or none")]
    Pixels,
}

/// SGD with momentum 0.9, a cosine from 0.05 after 50 steps of warm-up, images mirrored at random; moving them as well
/// costs accuracy in so few epochs. 5 epochs in batches of 50; of scenes 6 in batches of 10, from 0.2.
#[must_use]
pub fn demo(train: &dyn Samples, otherwise: &Otherwise, seed: u64) -> Settings {
    Recipe::of(Kind::Demo, train, otherwise).made(train, seed)
}

impl Recipe {
    /// A recipe as it is before anything is otherwise.
    #[must_use]
    pub fn preset(kind: Kind, target: Target) -> Self {
        // Half the demo's batch learns as well and takes longer; each scene has as much to learn from as many images.
        let (batch, epochs, peak, weight_decay) = match target {
            Target::Images => (50, 5, 0.05, 5e-3),
            Target::Pixels => (10, 6, 0.2, 5e-4),
        };
        let demo = Self {
            kind,
            epochs,
            batch,
            accumulate: 1,
            optimizer: Sgd { momentum: 0.9, weight_decay, nesterov: true }.into(),
            peak,
            warm_up: Span::Steps(50),
            from: None,
            shape: Shape::Cosine,
            smoothing: 0.0,
            augment: Augment::Flip,
            shift: 0,
            ema: None,
            dropout: None,
            depth: None,
            distillation: None,
            temperature: unchanged(),
        };
        // Customary where RMSProp trains networks of images: Tan and others, MnasNet, CVPR 2019.
        let rms_prop = RmsProp { decay: 0.9, momentum: 0.9, weight_decay: 1e-5, epsilon: 1e-3, tensorflow: true };
        match kind {
            Kind::Demo => demo,
            Kind::Default => Self {
                epochs: 90,
                batch: 256,
                optimizer: Sgd { momentum: 0.9, weight_decay: 4e-5, nesterov: false }.into(),
                peak: 0.1,
                warm_up: Span::Steps(0),
                shape: Shape::Decay { factor: 0.1, every: Span::Epochs(30) },
                ..demo
            },
            Kind::Advanced => Self {
                epochs: 400,
                batch: 2048,
                optimizer: Rule::RmsProp(rms_prop).into(),
                peak: 0.16,
                warm_up: Span::Epochs(5),
                from: Some(0.01),
                shape: Shape::Decay { factor: 0.9875, every: Span::Epochs(1) },
                smoothing: 0.1,
                augment: Augment::Autoaugment,
                ema: Some(0.999_85),
                dropout: Some(0.2),
                depth: Some(0.9),
                distillation: Some(0.8),
                ..demo
            },
        }
    }

    /// A recipe for these images, with what is to be otherwise. The demo's batch is never larger than there are images, and its warm-up
    /// never longer than a quarter of all steps, unless that is asked for.
    #[must_use]
    pub fn of(kind: Kind, train: &dyn Samples, otherwise: &Otherwise) -> Self {
        let mut recipe = Self::preset(kind, train.target());
        if kind == Kind::Demo {
            recipe.batch = recipe.batch.min(train.count().max(1));
        }
        fn take<T: Copy>(value: &mut T, asked: Option<T>) {
            *value = asked.unwrap_or(*value);
        }
        take(&mut recipe.epochs, otherwise.epochs);
        take(&mut recipe.batch, otherwise.batch);
        take(&mut recipe.accumulate, otherwise.accumulate);
        take(&mut recipe.peak, otherwise.peak);
        if kind == Kind::Demo {
            recipe.warm_up = Span::Steps(50.min(recipe.steps(train) / 4));
        }
        take(&mut recipe.warm_up, otherwise.warm_up);
        take(&mut recipe.shape, otherwise.shape);
        take(&mut recipe.smoothing, otherwise.smoothing);
        take(&mut recipe.augment, otherwise.augment);
        take(&mut recipe.shift, otherwise.shift);
        recipe.ema = otherwise.ema.or(recipe.ema);
        recipe.dropout = otherwise.dropout.or(recipe.dropout);
        recipe.depth = otherwise.depth.or(recipe.depth);
        recipe.distillation = otherwise.distillation.or(recipe.distillation);
        take(&mut recipe.temperature, otherwise.temperature);
        for part in &otherwise.without {
            match part {
                Part::RmsProp => {
                    if let Rule::RmsProp(RmsProp { weight_decay, .. }) = recipe.optimizer.rule {
                        recipe.optimizer.rule = Rule::Sgd(Sgd { momentum: 0.9, weight_decay, nesterov: false });
                    }
                }
                Part::Ema => recipe.ema = None,
                Part::Dropout => recipe.dropout = None,
                Part::Depth => recipe.depth = None,
                Part::Distillation => recipe.distillation = None,
            }
        }
        recipe
    }

    /// Steps in a pass, and in all.
    fn pass(&self, train: &dyn Samples) -> u64 {
        (train.count() / self.batch.saturating_mul(self.accumulate as usize).max(1)) as u64
    }

    fn steps(&self, train: &dyn Samples) -> u64 {
        self.epochs.saturating_mul(self.pass(train))
    }

    /// The settings that follow it on these images, in f32.
    ///
    /// # Errors
    /// When it wants a teacher, warms up to the end, or moves pixels that have labels.
    pub fn settings(&self, train: &dyn Samples, seed: u64) -> Result<Settings, RecipeError> {
        self.taught(train, seed, None)
    }

    /// [`settings`](Self::settings) with a teacher, for recipes that learn of one.
    ///
    /// # Errors
    /// As [`settings`](Self::settings); and when there is a teacher that the recipe does not want, or none that it wants.
    pub fn taught(
        &self,
        train: &dyn Samples,
        seed: u64,
        teacher: Option<Arc<Teacher>>,
    ) -> Result<Settings, RecipeError> {
        let (warm_up, steps) = (self.warm_up.steps(self.pass(train)), self.steps(train));
        // Without a step there is no batch, which is refused where batches are made.
        if warm_up >= steps && steps > 0 {
            return Err(RecipeError::WarmUp { warm_up, steps });
        }
        if train.target() == Target::Pixels && self.policy().is_some() {
            return Err(RecipeError::Pixels);
        }
        let kind = self.kind.name();
        let distillation = match (self.distillation, teacher) {
            (None, None) => None,
            (Some(share), Some(teacher)) => Some(Distilled { share, temperature: self.temperature, teacher }),
            (Some(_), None) => return Err(RecipeError::Untaught { kind }),
            (None, Some(_)) => return Err(RecipeError::Unheard { kind }),
        };
        Ok(Settings { distillation, ..self.made(train, seed) })
    }

    const fn policy(&self) -> Option<Reading> {
        match self.augment {
            Augment::None | Augment::Flip => None,
            Augment::Autoaugment => Some(Reading::DeepVoltaire),
            Augment::AutoaugmentTimm => Some(Reading::Timm),
        }
    }

    fn made(&self, train: &dyn Samples, seed: u64) -> Settings {
        let flip = self.augment != Augment::None;
        Settings {
            elem: Elem::F32,
            recompute: Recompute::Nothing,
            batch: self.batch,
            accumulate: self.accumulate,
            seed,
            steps: self.steps(train),
            schedule: self.schedule(self.pass(train), self.steps(train)),
            optimizer: self.optimizer,
            augmentation: Augmentation { flip, shift: self.shift, policy: self.policy() },
            smoothing: self.smoothing,
            ema: self.ema,
            regularization: Regularization { depth: self.depth, dropout: self.dropout },
            distillation: None,
            note: match self.kind {
                // All that it chooses is in the settings, and runs of before there were others can be continued.
                Kind::Demo => String::new(),
                _ => serde_json::to_string(self).unwrap_or_default(),
            },
            checkpoint: None,
        }
    }

    /// The rates of so many steps, of which so many are a pass.
    fn schedule(&self, pass: u64, steps: u64) -> Schedule {
        let (peak, warm_up) = (self.peak, self.warm_up.steps(pass));
        let then = match self.shape {
            Shape::Cosine if self.from.is_none() => return Schedule::Cosine { peak, warm_up, steps },
            Shape::Cosine => Then::Cosine { steps: steps.saturating_sub(warm_up) },
            Shape::Constant => Then::Constant,
            Shape::Decay { factor, every } => Then::Decay { factor, every: every.steps(pass) },
        };
        let from = self.from.unwrap_or(peak / warm_up.max(1) as f64);
        Schedule::WarmUp { from, steps: warm_up, peak, then }
    }
}

/// What older files and most recipes have: a batch is a step.
const fn one() -> u32 {
    1
}

const fn is_one(count: &u32) -> bool {
    *count == 1
}
