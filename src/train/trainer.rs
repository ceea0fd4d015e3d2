//! The loop: batches in, losses out, a checkpoint now and then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::batches::{Augmentation, Batches, Epoch, Normalization};
use super::checkpoint::{self, About, Checkpoint, CheckpointError, Which};
use super::data::Images;
use super::error::TrainError;
use super::evaluate::{Evaluator, fits};
use super::schedule::Schedule;
use super::step::{TrainingStep, evaluation, training_step};
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::models::{Model, Parameters};
use crate::ops::Sgd;
use crate::plan::{Layout, Options, Plan};

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Images in a batch.
    pub batch: usize,
    /// Where initial weights, the order of images and their augmentation come from.
    pub seed: u64,
    /// Steps in all.
    pub steps: u64,
    /// The learning rate.
    pub schedule: Schedule,
    /// The update.
    pub sgd: Sgd,
    /// What happens to training images.
    pub augmentation: Augmentation,
    /// Where to save, and after how many steps each time; also when training is stopped.
    pub checkpoint: Option<(PathBuf, u64)>,
}

/// What is said after each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The pass over the images that the step belonged to, from 0.
    pub epoch: u64,
    /// The mean loss of the batch, before the step's update.
    pub loss: f32,
    /// The learning rate.
    pub rate: f32,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Done,
    /// The stop flag was set; the checkpoint, if there is one, holds where.
    Stopped,
}

/// A model on a device, with its optimizer.
pub struct Trainer {
    step: Executor,
    evaluator: Evaluator,
    parameters: Parameters,
    settings: Settings,
    about: About,
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
        train: &Images,
        settings: Settings,
    ) -> Result<Self, TrainError> {
        let image = [train.height, train.width, train.channels];
        fits(train, image, model.classes())?;
        let images = [settings.batch, image[0], image[1], image[2]];
        let TrainingStep { graph, mut parameters, .. } = training_step(model, images, settings.sgd)?;
        let evaluation = evaluation(model, &mut parameters, images)?;
        let machine = device.capabilities();
        let layout = Layout::of(&[&graph, &evaluation], machine.offset_alignment)?;
        let homes = Homes::new(device, &layout)?;
        for parameter in parameters.iter() {
            homes.write_f32(parameter.home, &parameter.name, &parameter.initial(settings.seed))?;
        }
        let plan = Plan::new(&graph, &layout, machine, Options::default())?;
        let about = About {
            model: model.name().to_owned(),
            classes: model.classes(),
            image,
            normalization: Normalization::of(train),
            batch: settings.batch,
            seed: settings.seed,
            step: 0,
        };
        let step = Executor::new(device, pipelines, plan, &homes)?;
        let evaluator = Evaluator::new(device, pipelines, &evaluation, &homes)?;
        Ok(Self { step, evaluator, parameters, settings, about })
    }

    /// The training step's executor.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.step
    }

    /// The evaluation, on the same weights.
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

    /// The share of images that the present weights put into the right class.
    ///
    /// # Errors
    /// As [`Evaluator::accuracy`].
    pub fn accuracy(&self, images: &Images) -> Result<f64, TrainError> {
        self.evaluator.accuracy(images, self.about.normalization)
    }

    /// Writes all homes and where the run stands.
    ///
    /// # Errors
    /// As [`checkpoint::save`].
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        Ok(checkpoint::save(path, self.homes(), &self.about)?)
    }

    /// Continues where the run that wrote this file stood.
    ///
    /// # Errors
    /// When the file cannot be read, or was written by a run of another model, batch, seed or other images.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        let file = Checkpoint::open(path)?;
        let there = file.about();
        let here = About { step: there.step, ..self.about.clone() };
        if *there != here {
            let differences = format!("it is of {there:?}, this run is {here:?}");
            return Err(CheckpointError::Differs { file: path.display().to_string(), differences }.into());
        }
        file.load(self.homes(), Which::All)?;
        self.about.step = there.step;
        Ok(())
    }

    /// Trains until all steps are done or `stop` is set, and calls `report` after each step.
    ///
    /// # Errors
    /// When the images are not those that the trainer was made for, the loss is no number any more, the machine fails,
    /// or a checkpoint cannot be written.
    pub fn train(
        &mut self,
        images: &Images,
        stop: &AtomicBool,
        mut report: impl FnMut(&Report),
    ) -> Result<Ended, TrainError> {
        fits(images, self.about.image, self.about.classes)?;
        let Settings { batch, seed, steps, augmentation, .. } = self.settings;
        let batches = Batches::new(images, self.about.normalization, batch, seed, augmentation)?;
        let mut feed = Feed::new(&batches);
        while self.about.step < steps {
            if stop.load(Ordering::Relaxed) {
                self.save_if(|_| true)?;
                return Ok(Ended::Stopped);
            }
            let at = self.about.step;
            let rate = self.settings.schedule.rate(at) as f32;
            feed.prepare(at)?;
            self.step.write_f32("images", &feed.pixels)?;
            self.step.write_u32("labels", &feed.labels)?;
            self.step.write_f32("rate", &[rate])?;
            self.step.run()?;
            // The next batch is made while the GPU works on this one.
            if at + 1 < steps {
                feed.prepare(at + 1)?;
            }
            let loss = self.step.read_named("loss")?.first().copied().unwrap_or(f32::NAN);
            if !loss.is_finite() {
                return Err(TrainError::Diverged { step: at, loss });
            }
            self.about.step = at + 1;
            report(&Report { step: at + 1, steps, epoch: at / batches.count() as u64, loss, rate });
            self.save_if(|every| (at + 1).is_multiple_of(every.max(1)) || at + 1 == steps)?;
        }
        Ok(Ended::Done)
    }

    fn save_if(&self, due: impl FnOnce(u64) -> bool) -> Result<(), TrainError> {
        match &self.settings.checkpoint {
            Some((path, every)) if due(*every) => self.save(path),
            _ => Ok(()),
        }
    }
}

/// The batch of one step, made ahead of time.
struct Feed<'b, 'a> {
    batches: &'b Batches<'a>,
    epoch: Option<(u64, Epoch<'b, 'a>)>,
    ready: Option<u64>,
    pixels: Vec<f32>,
    labels: Vec<u32>,
}

impl<'b, 'a> Feed<'b, 'a> {
    const fn new(batches: &'b Batches<'a>) -> Self {
        Self { batches, epoch: None, ready: None, pixels: Vec::new(), labels: Vec::new() }
    }

    /// Makes the batch of step `at`, unless it is the one that is ready.
    fn prepare(&mut self, at: u64) -> Result<(), TrainError> {
        if self.ready == Some(at) {
            return Ok(());
        }
        let count = self.batches.count() as u64;
        let wanted = at / count;
        let epoch = match self.epoch.take() {
            Some((known, epoch)) if known == wanted => epoch,
            _ => self.batches.epoch(wanted),
        };
        self.ready = None;
        epoch.batch((at % count) as usize, &mut self.pixels, &mut self.labels)?;
        self.epoch = Some((wanted, epoch));
        self.ready = Some(at);
        Ok(())
    }
}
