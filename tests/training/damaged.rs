//! Noise that is not as it should be.

use vistok::train::batches::Normalization;
use vistok::train::data::{DataError, Images, Target};
use vistok::train::{Chance, Samples};

use super::noise;

/// 24 images.
pub(crate) struct Damaged {
    images: Images,
    normalization: Option<Normalization>,
    unreadable: Option<usize>,
}

impl Damaged {
    /// Whose numbers are too large for f32 once they are normalized.
    pub(crate) fn poisoned() -> Self {
        Self { images: noise(24), normalization: Some(Normalization { mean: 0.0, std: 1e-45 }), unreadable: None }
    }

    /// Of which this one cannot be read.
    pub(crate) fn unreadable(index: usize) -> Self {
        Self { images: noise(24), normalization: None, unreadable: Some(index) }
    }
}

impl Samples for Damaged {
    fn count(&self) -> usize {
        self.images.count()
    }

    fn image(&self) -> [usize; 3] {
        self.images.image()
    }

    fn target(&self) -> Target {
        Target::Images
    }

    fn classes(&self) -> usize {
        self.images.classes
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        self.normalization.map_or_else(|| self.images.normalization(), Ok)
    }

    fn digest(&self) -> u64 {
        self.images.digest()
    }

    fn origin(&self) -> u64 {
        self.images.origin()
    }

    fn check(&self) -> Result<(), DataError> {
        self.images.check()
    }

    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        match self.unreadable == Some(index) {
            true => Err(DataError::Label { file: format!("{index}.png"), at: 0, found: 9, most: 3 }),
            false => self.images.sample(index, chance, pixels, labels),
        }
    }
}
