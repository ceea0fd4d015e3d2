//! The batch that the next step reads, made while the GPU works on the one before.

use super::batches::{Batches, Epoch};
use super::error::TrainError;

/// The batch of one step, made ahead of time.
pub(super) struct Feed<'b, 'a> {
    batches: &'b Batches<'a>,
    epoch: Option<(u64, Epoch<'b, 'a>)>,
    ready: Option<u64>,
    pub(super) pixels: Vec<f32>,
    pub(super) labels: Vec<u32>,
}

impl<'b, 'a> Feed<'b, 'a> {
    pub(super) const fn new(batches: &'b Batches<'a>) -> Self {
        Self { batches, epoch: None, ready: None, pixels: Vec::new(), labels: Vec::new() }
    }

    /// Makes the batch of step `at`, unless it is the one that is ready.
    pub(super) fn prepare(&mut self, at: u64) -> Result<(), TrainError> {
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
