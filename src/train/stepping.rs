//! A step on the GPU: one plan, or where a batch is cut into micro-batches two, which share their memory.

use super::error::TrainError;
use super::feed::Batch;
use super::regularize;
use crate::gpu::{BadValue, Device, Error, Executor, Homes, Pipelines, Reading};
use crate::models::Regularization;
use crate::models::parameters::TEACHER;
use crate::plan::Plan;

/// The executors of a step.
pub(super) struct Stepper {
    /// Of the last micro-batch, or the only one: it updates.
    last: Executor,
    /// Of those before it, which add their gradients up.
    adding: Option<Executor>,
    /// Micro-batches in a step.
    count: usize,
}

/// What a step is given beside its batch.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) rate: f32,
    pub(super) regularization: Regularization,
    /// Of the run.
    pub(super) seed: u64,
    /// The step's number, from 0.
    pub(super) at: u64,
}

/// The losses of a step's micro-batches, on their way.
pub(super) struct Losses(Vec<Reading>);

impl Stepper {
    /// Makes the plans runnable: of the last of so many micro-batches, and of those before it.
    pub(super) fn new(
        (device, pipelines): (&Device, &Pipelines),
        last: Plan,
        (adding, count): (Option<Plan>, usize),
        homes: &Homes,
    ) -> Result<Self, Error> {
        let last = Executor::new(device, pipelines, last, homes)?;
        let adding = adding.map(|plan| Executor::beside(device, pipelines, plan, &last)).transpose()?;
        Ok(Self { last, adding, count: count.max(1) })
    }

    /// The executor of what updates.
    pub(super) fn last(&self) -> &Executor {
        &self.last
    }

    fn of(&self, micro: usize) -> &Executor {
        self.adding.as_ref().filter(|_| micro + 1 < self.count).unwrap_or(&self.last)
    }

    /// Gives a micro-batch what it reads.
    pub(super) fn give(&self, batch: &Batch, told: Told, micro: usize) -> Result<(), TrainError> {
        let executor = self.of(micro);
        let number = told.at.wrapping_mul(self.count as u64).wrapping_add(micro as u64);
        regularize::write(executor, told.regularization, [told.seed, number])?;
        executor.write_f32("images", part(&batch.pixels, micro, self.count))?;
        executor.write_u32("labels", part(&batch.labels, micro, self.count))?;
        if !batch.taught.is_empty() {
            executor.write_f32(TEACHER, part(&batch.taught, micro, self.count))?;
        }
        // Where nothing is updated there is no rate.
        if micro + 1 == self.count {
            executor.write_f32("rate", &[told.rate])?;
        }
        Ok(())
    }

    /// Submits a whole step, of which the first micro-batch was given what it reads.
    pub(super) fn run(&self, batch: &Batch, told: Told) -> Result<Losses, TrainError> {
        let mut losses = Vec::with_capacity(self.count);
        for micro in 0..self.count {
            if micro > 0 {
                self.give(batch, told, micro)?;
            }
            self.of(micro).run()?;
            losses.push(self.of(micro).start_reading("loss")?);
        }
        Ok(Losses(losses))
    }

    /// Waits for a step, and says its mean loss.
    pub(super) fn finish(&self, Losses(losses): Losses) -> Result<f32, Error> {
        let mut sum = 0.0;
        for (micro, loss) in losses.into_iter().enumerate() {
            let loss = self.of(micro).finish(loss)?.first().copied().unwrap_or(f32::NAN);
            sum += f64::from(loss);
        }
        Ok((sum / self.count as f64) as f32)
    }

    /// Runs a step node by node up to the first value that is not finite. The homes are put back to what they were.
    pub(super) fn first_bad_value(&self, batch: &Batch, told: Told) -> Result<Option<BadValue>, TrainError> {
        let homes = self.last.homes();
        let before = homes.snapshot()?;
        let search = || -> Result<Option<BadValue>, TrainError> {
            for micro in 0..self.count {
                self.give(batch, told, micro)?;
                let found = self.of(micro).first_bad_value()?;
                if found.is_some() {
                    return Ok(found);
                }
                self.of(micro).run()?;
            }
            Ok(None)
        };
        let found = search();
        homes.restore(&before)?;
        found
    }
}

/// A micro-batch's part of what a batch has.
fn part<T>(all: &[T], micro: usize, count: usize) -> &[T] {
    let each = all.len() / count;
    &all[micro * each..][..each]
}
