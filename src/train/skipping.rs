//! Images among which some cannot be read: they are told of, and others stand in for them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::batches::Normalization;
use super::data::{DataError, IGNORED, Target};
use super::samples::{Chance, Samples, UNREAD, no_such, normalization_of};

/// Images of which those that are [corrupt](DataError::is_corrupt) are skipped. In training the next one that can be read stands in
/// for such an image, behind the last the first, so that an epoch has as many as ever, and the same for the same files. Tried on, it
/// does not count: its label is [`UNREAD`], or each of its pixels is ignored.
pub struct Skipping {
    samples: Box<dyn Samples>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    skipped: Mutex<BTreeSet<usize>>,
}

impl Skipping {
    /// `tell` is told once of each image that is skipped, on whatever thread finds it.
    pub fn new(samples: Box<dyn Samples>, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { samples, tell: Box::new(tell), skipped: Mutex::default() }
    }

    /// Notes and tells what is wrong with an image; that it was the last one is an error.
    fn skip(&self, index: usize, error: &DataError) -> Result<(), DataError> {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.insert(index) {
            (self.tell)(&format!("skipped: {error}"));
        }
        match skipped.len() < self.count() {
            true => Ok(()),
            false => Err(DataError::NoneReadable { count: self.count(), last: error.to_string() }),
        }
    }

    /// The image, or the first behind it that can be read.
    fn stand_in(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        let count = self.count();
        let before = if index < count { 0..index } else { 0..0 };
        for at in (index..count).chain(before) {
            match self.samples.sample(at, chance.clone(), pixels, labels) {
                Err(error) if error.is_corrupt() => self.skip(at, &error)?,
                other => return other,
            }
        }
        Err(no_such(index, count))
    }
}

impl Samples for Skipping {
    fn count(&self) -> usize {
        self.samples.count()
    }

    fn image(&self) -> [usize; 3] {
        self.samples.image()
    }

    fn target(&self) -> Target {
        self.samples.target()
    }

    fn classes(&self) -> usize {
        self.samples.classes()
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        match self.samples.normalization() {
            Err(error) if error.is_corrupt() => {
                normalization_of(self, |index, pixels, labels| self.stand_in(index, None, pixels, labels))
            }
            other => other,
        }
    }

    fn digest(&self) -> u64 {
        self.samples.digest()
    }

    fn origin(&self) -> u64 {
        self.samples.origin()
    }

    fn check(&self) -> Result<(), DataError> {
        self.samples.check()
    }

    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        if chance.is_some() {
            return self.stand_in(index, chance, pixels, labels);
        }
        match self.samples.sample(index, None, pixels, labels) {
            Err(error) if error.is_corrupt() => {
                self.skip(index, &error)?;
                pixels.fill(0);
                labels.fill(if self.target() == Target::Pixels { IGNORED } else { UNREAD });
                Ok(())
            }
            other => other,
        }
    }

    fn skipped(&self) -> usize {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
