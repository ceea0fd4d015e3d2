//! A run whose numbers are none any more: which step, op and value it began with.

use std::sync::atomic::{AtomicBool, Ordering};

use super::batches::Batches;
use super::checkpoint::Checkpoint;
use super::error::TrainError;
use super::feed::Feed;
use super::trainer::Trainer;
use crate::gpu::BadValue;
use crate::kernel::Elem;
use crate::models::parameters::{AVERAGES, PARAMETERS, STATISTICS, TEACHER};

impl Trainer {
    /// The first weight or running average that holds NaN or infinity, in words.
    pub(super) fn bad_weight(&self) -> Result<Option<String>, TrainError> {
        let homes = self.homes().layout().homes().iter();
        for home in homes.filter(|home| [PARAMETERS, STATISTICS, AVERAGES].contains(&home.name)) {
            for stored in home.tensors.iter().filter(|stored| stored.tensor.elem != Elem::U32) {
                let numbers = self.homes().read_f32(home.name, &stored.name)?;
                if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
                    return Ok(Some(format!("{} `{}` holds {number}", home.name, stored.name)));
                }
            }
        }
        Ok(None)
    }

    /// The error for a run that `what` happened to in step `at`, counted from 0. The run is computed again from where it was last kept
    /// or began, bit for bit, up to the first step that is not finite any more, and that step op by op. Then it stands before that step.
    pub(super) fn diverged(
        &mut self,
        batches: &Batches<'_>,
        (at, what): (u64, String),
        stop: &AtomicBool,
    ) -> TrainError {
        let found = match self.first_bad(batches, at, stop) {
            Ok(Found::Value(step, bad)) => format!("the first bad value is in step {}: {}", step + 1, told(&bad)),
            Ok(Found::Nothing) => {
                "computed again, everything is finite: were weights written from outside, or does the machine err?"
                    .to_owned()
            }
            Ok(Found::Interrupted) => "where it began was not found out, for the run was stopped".to_owned(),
            Err(error) => format!("where it began was not found out ({error})"),
        };
        TrainError::Diverged { step: at + 1, what, found, kept: self.kept() }
    }

    fn first_bad(&mut self, batches: &Batches<'_>, at: u64, stop: &AtomicBool) -> Result<Found, TrainError> {
        let bad = match self.again(batches, at, stop, true)? {
            Again::Interrupted => return Ok(Found::Interrupted),
            Again::Bad(step) => step,
            Again::Through => at,
        };
        // Once more, up to before the step that left bad weights.
        if bad < at && matches!(self.again(batches, bad, stop, false)?, Again::Interrupted) {
            return Ok(Found::Interrupted);
        }
        let batch = std::thread::scope(|scope| Feed::start(scope, batches, bad..bad + 1).next())?;
        let found = self.steps.first_bad_value(&batch, self.told(bad))?;
        Ok(found.map_or(Found::Nothing, |value| Found::Value(bad, value)))
    }

    /// Goes back, and computes the steps before `at` again, or up to the first that leaves bad weights if those are looked at.
    fn again(&mut self, batches: &Batches<'_>, at: u64, stop: &AtomicBool, looks: bool) -> Result<Again, TrainError> {
        let from = self.go_back()?;
        std::thread::scope(|scope| {
            let feed = Feed::start(scope, batches, from..at);
            for step in from..at {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Again::Interrupted);
                }
                let batch = feed.next()?;
                let losses = self.submit(&batch, step)?;
                feed.take_back(batch);
                self.steps.finish(losses)?;
                self.about.step = step + 1;
                if looks && self.bad_weight()?.is_some() {
                    return Ok(Again::Bad(step));
                }
            }
            Ok(Again::Through)
        })
    }

    /// Makes the run what it was when it was last kept, or when it began; says after how many steps.
    fn go_back(&mut self) -> Result<u64, TrainError> {
        if let Some((path, _)) = self.kept.last.clone() {
            let file = Checkpoint::open(&path)?;
            file.check(self.homes().layout())?;
            self.restore(&path, &file)?;
        } else {
            self.submitted = u64::MAX;
            // A teacher learns nothing: it is what it was.
            for home in self.homes().layout().homes().iter().filter(|home| home.name != TEACHER) {
                for stored in &home.tensors {
                    self.homes().write_bytes(home.name, &stored.name, &vec![0; stored.tensor.bytes()])?;
                }
            }
            self.settings.optimizer.initialize(self.homes(), self.parameters(), self.settings.seed)?;
            (self.submitted, self.about.step) = (0, 0);
        }
        Ok(self.about.step)
    }
}

/// What came of computing steps again.
enum Again {
    Through,
    /// This one left bad weights.
    Bad(u64),
    Interrupted,
}

/// What came of looking for a bad value.
enum Found {
    /// In this step, counted from 0.
    Value(u64, BadValue),
    Nothing,
    Interrupted,
}

/// A value in words; the number of its kernel call says nothing to those who train.
fn told(bad: &BadValue) -> String {
    let BadValue { kernel, label, tensor, index, number, count, given, .. } = bad;
    let given = if given.is_empty() { String::new() } else { format!("; bad before: {}", given.join(", ")) };
    format!("{kernel} of {label} wrote {number} at {index:?} of {tensor} ({count} bad in all{given})")
}
