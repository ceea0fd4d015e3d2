//! The loop: batches in, losses out, a checkpoint now and then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::batches::{Augmentation, Batches};
use super::checkpoint::{self, About, Checkpoint, CheckpointError};
use super::data::Target;
use super::error::TrainError;
use super::evaluate::{Evaluator, Score, fits};
use super::feed::Feed;
use super::machine::{chosen, machine_line};
use super::optimizer::Optimizer;
use super::recompute::Recompute;
use super::report::{Ended, Report, Resumed};
use super::samples::Samples;
use super::schedule::Schedule;
use super::step::{LOSS_SCALE, StepOptions, TrainingStep, scored_evaluation, training_step_with};
use super::{regularize, teacher};
use crate::gpu::{Device, Executor, Homes, Pipelines, Reading};
use crate::kernel::Elem;
use crate::models::{Model, Parameters, Regularization};
use crate::plan::{Layout, Options, Plan};

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What images, activations and gradients are held in: f32, or f16 for mixed precision ([`step`](super::step)).
    pub elem: Elem,
    /// The blocks that the backward pass makes again instead of keeping them. Changes no bit: a run may go on with others.
    pub recompute: Recompute,
    /// Images in a batch.
    pub batch: usize,
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
    pub distillation: Option<teacher::Distilled>,
    /// What checkpoints note of the recipe beside the settings themselves, in one line; mostly nothing.
    pub note: String,
    /// Where to save, and after how many steps each time; also when training is stopped or done.
    pub checkpoint: Option<(PathBuf, u64)>,
}

/// A model on a device, with its optimizer.
pub struct Trainer {
    step: Executor,
    evaluator: Evaluator,
    parameters: Parameters,
    settings: Settings,
    about: About,
    target: Target,
    /// The step that the checkpoint's file holds, as far as this run knows.
    saved: Option<u64>,
    /// Steps submitted. Where more than are known to have ended, nobody knows which step the weights are of.
    submitted: u64,
}

impl Trainer {
    /// Plans training and evaluation of a model for such images on shared homes, and writes the initial weights.
    ///
    /// # Errors
    /// When the images do not fit the model, or the plans the machine.
    pub fn new(
        device: &Device,
        pipelines: &Pipelines,
        model: &dyn Model,
        train: &dyn Samples,
        settings: Settings,
    ) -> Result<Self, TrainError> {
        let image = train.image();
        fits(train, image, (model.classes(), model.target()))?;
        let images = [settings.batch, image[0], image[1], image[2]];
        let TrainingStep { graph, parameters, .. } =
            training_step_with(&settings.step(), model, images, settings.optimizer)?;
        let mut scored = if settings.ema.is_some() { parameters.averaged() } else { parameters.clone() };
        let evaluation = scored_evaluation(model, &mut scored, images)?;
        let machine = device.capabilities();
        let layout = Layout::of(&[&graph, &evaluation], machine.offset_alignment)?;
        let homes = Homes::new(device, &layout)?;
        settings.optimizer.initialize(&homes, &parameters, settings.seed)?;
        let plan = Plan::new(&graph, &layout, machine, Options::default())?;
        // Bits are those of the step that keeps everything, whatever is made again.
        let keeping = match settings.recompute {
            Recompute::Nothing => None,
            _ => {
                let options = StepOptions { recompute: Recompute::Nothing, ..settings.step() };
                let graph = training_step_with(&options, model, images, settings.optimizer)?.graph;
                Some(Plan::new(&graph, &layout, machine, Options::default())?)
            }
        };
        let about = About {
            model: model.name().to_owned(),
            options: model.description(),
            classes: model.classes(),
            image,
            normalization: train.normalization()?,
            batch: settings.batch,
            seed: settings.seed,
            step: 0,
            recipe: settings.recipe(),
            images: train.digest(),
            machine: machine_line(device, keeping.as_ref().unwrap_or(&plan)),
            tiles: chosen(machine, &[&graph, &evaluation]),
        };
        teacher::load(settings.distillation.as_ref(), about.normalization, &homes)?;
        let step = Executor::new(device, pipelines, plan, &homes)?;
        let evaluator = Evaluator::new(device, pipelines, &evaluation, &homes)?;
        Ok(Self { step, evaluator, parameters, settings, about, target: model.target(), saved: None, submitted: 0 })
    }

    /// The training step's executor.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.step
    }

    /// The evaluation, on the same weights, or on their averages where the run has them.
    #[must_use]
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The weights, running averages and velocities.
    #[must_use]
    pub fn homes(&self) -> &Homes {
        self.step.homes()
    }

    /// The model's parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What a checkpoint would note now.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// How well the present weights do, or their averages where the run has them.
    ///
    /// # Errors
    /// As [`Evaluator::score`].
    pub fn score(&self, images: &dyn Samples) -> Result<Score, TrainError> {
        self.evaluator.score(images, self.about.normalization)
    }

    /// The share of images, or of labeled pixels, that are put into the right class, as [`score`](Self::score) has it.
    ///
    /// # Errors
    /// As [`Evaluator::accuracy`].
    pub fn accuracy(&self, images: &dyn Samples) -> Result<f64, TrainError> {
        self.evaluator.accuracy(images, self.about.normalization)
    }

    /// The step that the settings' checkpoint holds, as far as this run has written or read it.
    #[must_use]
    pub fn saved(&self) -> Option<u64> {
        self.saved
    }

    /// What the loss is scaled by, and how many steps were skipped because gradients overflowed; `None` without mixed
    /// precision. Waits for the GPU.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn loss_scale(&self) -> Result<Option<(f32, u64)>, TrainError> {
        if self.settings.elem != Elem::F16 {
            return Ok(None);
        }
        let read = |name| Ok::<_, TrainError>(self.homes().read_f32(LOSS_SCALE, name)?[0]);
        Ok(Some((read("scale")?, read("skipped")? as u64)))
    }

    /// Writes all homes and where the run stands.
    ///
    /// # Errors
    /// As [`checkpoint::save`]; and [`TrainError::Torn`] after a step whose end is unknown.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        self.whole()?;
        Ok(checkpoint::save(path, self.homes(), &self.about)?)
    }

    /// Continues where the run that wrote this file stood, and says whether bit for bit.
    ///
    /// # Errors
    /// When the file cannot be read, or was written by a run of another model, batch, seed, recipe or other images.
    pub fn resume(&mut self, path: &Path) -> Result<Resumed, TrainError> {
        let file = Checkpoint::open(path)?;
        let (there, here) = (file.about(), &self.about);
        let differences = there.differences(here);
        if !differences.is_empty() {
            let differences = format!("{}: give this run what that run was given", differences.join("; "));
            return Err(CheckpointError::Differs { file: path.display().to_string(), differences }.into());
        }
        file.check(self.homes().layout())?;
        // From the first byte written to the last, the weights are of neither run.
        self.submitted = u64::MAX;
        file.load(self.homes())?;
        (self.submitted, self.about.step) = (there.step, there.step);
        if self.settings.checkpoint.as_ref().is_some_and(|(own, _)| own == path) {
            self.saved = Some(there.step);
        }
        let (there, here) = (there.machine.clone(), self.about.machine.clone());
        Ok(if there == here { Resumed::Exactly } else { Resumed::Elsewhere { there, here } })
    }

    /// Trains until all steps are done or `stop` is set, and calls `report` after each step.
    ///
    /// After an error that is not [`TrainError::Torn`] at the next call, the run stands where it stood before the step
    /// and may be tried again; else it continues from a checkpoint.
    ///
    /// # Errors
    /// When the images are not those that the trainer was made for, the loss is no number any more, the machine fails,
    /// or a checkpoint cannot be written; the last two name the step and what is kept.
    pub fn train(
        &mut self,
        images: &dyn Samples,
        stop: &AtomicBool,
        report: impl FnMut(&Report),
    ) -> Result<Ended, TrainError> {
        self.train_to(images, stop, self.settings.steps, report)
    }

    /// Trains as [`train`](Self::train) does, but at most until so many steps are done, and can be called again: the bits are the same,
    /// and between two calls the run stands still, to be scored.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn train_to(
        &mut self,
        images: &dyn Samples,
        stop: &AtomicBool,
        until: u64,
        mut report: impl FnMut(&Report),
    ) -> Result<Ended, TrainError> {
        fits(images, self.about.image, (self.about.classes, self.target))?;
        self.whole()?;
        let Settings { batch, seed, steps, augmentation, .. } = self.settings;
        let batches = Batches::new(images, self.about.normalization, batch, seed, augmentation)?;
        let until = until.min(steps);
        std::thread::scope(|scope| {
            let feed = Feed::start(scope, &batches, self.about.step..until);
            self.learn(&feed, until, stop, &mut report)
        })
    }

    fn learn(
        &mut self,
        feed: &Feed,
        until: u64,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Report),
    ) -> Result<Ended, TrainError> {
        let (steps, mut running, mut stopping) = (self.settings.steps, None, false);
        // A step is submitted before the loss of the one ahead of it is waited for, so that the GPU never waits for the
        // CPU; but none behind one that is saved: a checkpoint is of a run that stands still.
        loop {
            stopping |= stop.load(Ordering::Relaxed);
            let at = self.about.step + u64::from(running.is_some());
            let waits = stopping || (running.is_some() && self.is_saved_after(at));
            let next = if at < until && !waits { Some(self.launch(feed, at)) } else { None };
            if let Some(Running { at, rate, loss }) = running.take() {
                let loss = match self.land(at, loss) {
                    Ok(loss) => loss,
                    // The step behind it may have been told what went wrong: nobody is told twice.
                    Err(error) => return Err(self.in_step(at, next.and_then(Result::err).unwrap_or(error))),
                };
                report(&Report { step: at + 1, steps, epoch: at / feed.epoch, loss, rate });
                if self.is_saved_after(at + 1) {
                    self.keep()?;
                }
            }
            match next {
                Some(Err(error @ TrainError::Data(_))) => {
                    // Nothing was submitted: the run stands where the last step left it.
                    self.keep()?;
                    return Err(self.in_step(at, error));
                }
                Some(launched) => running = Some(launched.map_err(|error| self.in_step(at, error))?),
                None if self.about.step >= until => return Ok(Ended::Done),
                None if stopping => return self.keep().map(|()| Ended::Stopped),
                None => {}
            }
        }
    }

    /// Submits step `at`.
    fn launch(&mut self, feed: &Feed, at: u64) -> Result<Running, TrainError> {
        let rate = self.settings.schedule.rate(at) as f32;
        let batch = feed.next()?;
        self.step.write_f32("images", &batch.pixels)?;
        self.step.write_u32("labels", &batch.labels)?;
        feed.take_back(batch);
        self.step.write_f32("rate", &[rate])?;
        regularize::write(&self.step, self.settings.regularization, [self.settings.seed, at])?;
        self.submitted = at + 1;
        self.step.run()?;
        let loss = self.step.start_reading("loss")?;
        Ok(Running { at, rate, loss })
    }

    /// Waits for step `at` and says its loss.
    fn land(&mut self, at: u64, loss: Reading) -> Result<f32, TrainError> {
        let loss = self.step.finish(loss)?.first().copied().unwrap_or(f32::NAN);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: at, loss });
        }
        self.about.step = at + 1;
        Ok(loss)
    }

    fn whole(&self) -> Result<(), TrainError> {
        let step = self.about.step + 1;
        if self.submitted == self.about.step { Ok(()) } else { Err(TrainError::Torn { step }) }
    }

    /// Whether the run is saved once so many steps are done.
    fn is_saved_after(&self, steps: u64) -> bool {
        let due = |(_, every): &(PathBuf, u64)| steps.is_multiple_of(*every.max(&1)) || steps == self.settings.steps;
        self.settings.checkpoint.as_ref().is_some_and(due)
    }

    /// A fault of the machine, the disk or the data, with the step and what is kept of the run.
    fn in_step(&self, at: u64, error: TrainError) -> TrainError {
        if !matches!(error, TrainError::Gpu(_) | TrainError::Checkpoint(_) | TrainError::Data(_)) {
            return error;
        }
        let kept = match (&self.settings.checkpoint, self.saved) {
            (Some((path, _)), Some(step)) => format!("{} holds the run after {step} steps", path.display()),
            _ => "nothing of the run was saved yet".to_owned(),
        };
        TrainError::Step { step: at + 1, source: Box::new(error), kept }
    }

    /// Saves the run, where it is to be saved.
    fn keep(&mut self) -> Result<(), TrainError> {
        let Some((path, _)) = &self.settings.checkpoint else { return Ok(()) };
        let step = self.about.step;
        self.save(path).map_err(|error| self.in_step(step.saturating_sub(1), error))?;
        self.saved = Some(step);
        Ok(())
    }
}

/// A step that the GPU works on.
struct Running {
    at: u64,
    rate: f32,
    loss: Reading,
}
