//! The loop: batches in, losses out, a checkpoint now and then.

use std::sync::atomic::{AtomicBool, Ordering};

use super::accumulate::MicroBatch;
use super::batches::Batches;
use super::checkpoint::About;
use super::data::Target;
use super::error::TrainError;
use super::evaluate::{Evaluator, Score, fits};
use super::feed::{Batch, Feed};
use super::keeping::Kept;
use super::machine::{chosen, machine_line};
use super::recompute::Recompute;
use super::report::{Ended, Report};
use super::samples::Samples;
use super::settings::Settings;
use super::step::{LOSS_SCALE, StepOptions, TrainingStep, scored_evaluation, training_step_with};
use super::stepping::{Losses, Stepper, Told};
use super::teacher;
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::kernel::Elem;
use crate::models::{Model, Parameters};
use crate::plan::{Layout, Options, Plan};

/// A model on a device, with its optimizer.
pub struct Trainer {
    pub(super) steps: Stepper,
    evaluator: Evaluator,
    parameters: Parameters,
    pub(super) settings: Settings,
    pub(super) about: About,
    target: Target,
    pub(super) kept: Kept,
    /// Steps submitted. Where more than are known to have ended, nobody knows which step the weights are of.
    pub(super) submitted: u64,
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
        let options = settings.step();
        let TrainingStep { graph, parameters, .. } = training_step_with(&options, model, images, settings.optimizer)?;
        let mut scored = if settings.ema.is_some() { parameters.averaged() } else { parameters.clone() };
        let evaluation = scored_evaluation(model, &mut scored, images)?;
        let machine = device.capabilities();
        let layout = Layout::of(&[&graph, &evaluation], machine.offset_alignment)?;
        let homes = Homes::new(device, &layout)?;
        settings.optimizer.initialize(&homes, &parameters, settings.seed)?;
        let plan = Plan::new(&graph, &layout, machine, Options::default())?;
        let another = |options: StepOptions| {
            let graph = training_step_with(&options, model, images, settings.optimizer)?.graph;
            Ok::<_, TrainError>(Plan::new(&graph, &layout, machine, Options::default())?)
        };
        // Bits are those of the step that keeps everything, whatever is made again.
        let keeping = match settings.recompute {
            Recompute::Nothing => None,
            _ => Some(another(StepOptions { recompute: Recompute::Nothing, ..options.clone() })?),
        };
        let adding = match options.micro_batch {
            MicroBatch::Whole => None,
            _ => Some(another(StepOptions { micro_batch: MicroBatch::Added, ..options })?),
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
            score: None,
            recipe: settings.recipe(),
            images: train.digest(),
            machine: machine_line(device, keeping.as_ref().unwrap_or(&plan)),
            tiles: chosen(machine, &[&graph, &evaluation]),
        };
        teacher::load(settings.distillation.as_ref(), (train, about.normalization), &homes)?;
        let steps = Stepper::new((device, pipelines), plan, (adding, settings.accumulate as usize), &homes)?;
        let evaluator = Evaluator::new(device, pipelines, &evaluation, &homes)?;
        let (target, kept) = (model.target(), Kept::default());
        Ok(Self { steps, evaluator, parameters, settings, about, target, kept, submitted: 0 })
    }

    /// The training step's executor; of several micro-batches that of the last.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        self.steps.last()
    }

    /// The evaluation, on the same weights, or on their averages where the run has them.
    #[must_use]
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The weights, running averages and velocities.
    #[must_use]
    pub fn homes(&self) -> &Homes {
        self.executor().homes()
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

    /// Trains until all steps are done or `stop` is set, and calls `report` after each step.
    ///
    /// After an error that is not [`TrainError::Torn`] at the next call, the run stands where it stood before the step
    /// and may be tried again; else it continues from a checkpoint.
    ///
    /// # Errors
    /// When the images are not those that the trainer was made for, the loss or a weight to be kept is not finite, the machine fails,
    /// or a checkpoint cannot be written; these name the step and what is kept. Where something is not finite the run is computed again
    /// from its last checkpoint, at most twice, to find the op that it began with ([`TrainError::Diverged`]).
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
        let Settings { seed, steps, augmentation, ref distillation, .. } = self.settings;
        let (size, teacher) = (self.settings.images_of_step(), distillation.as_ref().map(|own| own.teacher.clone()));
        let batches = Batches::new(images, self.about.normalization, size, seed, augmentation)?.taught_by(teacher)?;
        let until = until.min(steps);
        let ended = std::thread::scope(|scope| {
            let feed = Feed::start(scope, &batches, self.about.step..until);
            self.learn(&feed, until, stop, &mut report)
        });
        match ended {
            Err(Stop::Diverged(at, what)) => Err(self.diverged(&batches, (at, what), stop)),
            Err(Stop::Failed(error)) => Err(error),
            Ok(ended) => Ok(ended),
        }
    }

    fn learn(
        &mut self,
        feed: &Feed,
        until: u64,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Report),
    ) -> Result<Ended, Stop> {
        let (steps, mut running, mut stopping) = (self.settings.steps, None, false);
        // A step is submitted before the loss of the one ahead of it is waited for, so that the GPU never waits for the
        // CPU; but none behind one that is saved: a checkpoint is of a run that stands still.
        loop {
            stopping |= stop.load(Ordering::Relaxed);
            let at = self.about.step + u64::from(running.is_some());
            let waits = stopping || (running.is_some() && self.is_saved_after(at));
            let next = if at < until && !waits { Some(self.launch(feed, at)) } else { None };
            if let Some(Running { at, rate, losses }) = running.take() {
                let loss = match self.land(at, losses) {
                    Ok(loss) => loss,
                    // The step behind it may have been told what went wrong: nobody is told twice.
                    Err(Stop::Failed(error)) => {
                        return Err(self.in_step(at, next.and_then(Result::err).unwrap_or(error)).into());
                    }
                    Err(diverged) => return Err(diverged),
                };
                report(&Report { step: at + 1, steps, epoch: at / feed.epoch, loss, rate });
                if self.is_saved_after(at + 1) {
                    self.keep_finite()?;
                }
            }
            match next {
                Some(Err(error @ TrainError::Data(_))) => {
                    // Nothing was submitted: the run stands where the last step left it.
                    self.keep_finite()?;
                    return Err(self.in_step(at, error).into());
                }
                Some(launched) => running = Some(launched.map_err(|error| self.in_step(at, error))?),
                None if self.about.step >= until => return Ok(Ended::Done),
                None if stopping => return self.keep_finite().map(|()| Ended::Stopped),
                None => {}
            }
        }
    }

    /// Submits step `at`.
    fn launch(&mut self, feed: &Feed, at: u64) -> Result<Running, TrainError> {
        let batch = feed.next()?;
        let losses = self.submit(&batch, at)?;
        feed.take_back(batch);
        Ok(Running { at, rate: self.told(at).rate, losses })
    }

    /// What step `at` is given beside its batch.
    pub(super) fn told(&self, at: u64) -> Told {
        let Settings { regularization, seed, .. } = self.settings;
        Told { rate: self.settings.schedule.rate(at) as f32, regularization, seed, at }
    }

    pub(super) fn submit(&mut self, batch: &Batch, at: u64) -> Result<Losses, TrainError> {
        let told = self.told(at);
        self.steps.give(batch, told, 0)?;
        self.submitted = at + 1;
        self.steps.run(batch, told)
    }

    /// Waits for step `at` and says its loss.
    fn land(&mut self, at: u64, losses: Losses) -> Result<f32, Stop> {
        let loss = self.steps.finish(losses).map_err(TrainError::from)?;
        if !loss.is_finite() {
            return Err(Stop::Diverged(at, format!("the loss is {loss}")));
        }
        self.about.step = at + 1;
        Ok(loss)
    }

    /// Keeps the run, where it is to be kept and has something worth it: the last checkpoint is one that can be gone on with.
    fn keep_finite(&mut self) -> Result<(), Stop> {
        if self.settings.checkpoint.is_none() {
            return Ok(());
        }
        let at = self.about.step.saturating_sub(1);
        match self.bad_weight() {
            Ok(Some(what)) => Err(Stop::Diverged(at, what)),
            Ok(None) => Ok(self.keep()?),
            Err(error) => Err(self.in_step(at, error).into()),
        }
    }
}

/// Why steps end before their time.
enum Stop {
    Failed(TrainError),
    /// In this step, counted from 0, something was seen not to be finite.
    Diverged(u64, String),
}

impl From<TrainError> for Stop {
    fn from(error: TrainError) -> Self {
        Self::Failed(error)
    }
}

/// A step that the GPU works on.
struct Running {
    at: u64,
    rate: f32,
    losses: Losses,
}
