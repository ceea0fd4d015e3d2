//! Batches of normalized images: shuffled, optionally flipped and shifted, each a pure function of seed, epoch and place.
//!
//! Nothing here has a state that advances, so a training run that resumes at batch k of epoch e asks for exactly that
//! batch and gets the bits that an uninterrupted run would have got.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use super::augment::Reading;
use super::data::DataError;
use super::samples::{Chance, Samples, UNREAD, sizes};
use super::teacher::Teacher;

/// How pixels become floats: `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Mean of `byte / 255` over the training images, or a sample of them.
    pub mean: f32,
    /// Standard deviation of the same; 1 where all pixels are equal.
    pub std: f32,
}

impl Normalization {
    /// Mean and standard deviation of these pixels: integer sums, hence exact and the same on every machine.
    pub fn of(pixels: &[u8]) -> Self {
        let mut counts = [0; 256];
        pixels.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        Self::of_counts(&counts)
    }

    /// The same of so many pixels of each brightness.
    pub fn of_counts(counts: &[u64; 256]) -> Self {
        let sum_of = |of: fn(u64) -> u64| (0u64..).zip(counts).map(|(byte, count)| of(byte) * count).sum::<u64>();
        let (sum, squares) = (sum_of(|byte| byte), sum_of(|byte| byte * byte));
        let count = counts.iter().sum::<u64>().max(1) as f64;
        let mean = sum as f64 / count;
        let variance = (squares as f64 / count - mean * mean).max(0.0);
        let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
        Self { mean: (mean / 255.0) as f32, std: std as f32 }
    }

    /// The float of every byte.
    pub fn table(&self) -> [f32; 256] {
        std::array::from_fn(|byte| (byte as f32 / 255.0 - self.mean) / self.std)
    }
}

/// What happens to training images at random; the default leaves them alone.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Mirror half of the images, left to right.
    pub flip: bool,
    /// Move each image by up to this many pixels along both axes; black comes in from the border.
    pub shift: u8,
    /// Then AutoAugment's policy, so read. Images whose pixels have labels are left alone by it: a label would have to move with its pixel.
    pub policy: Option<Reading>,
}

/// Noted in checkpoints: without a policy it is the text of before there were any, so that those runs can be continued.
impl fmt::Debug for Augmentation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flip, shift, policy } = self;
        let mut text = formatter.debug_struct("Augmentation");
        text.field("flip", flip).field("shift", shift);
        if let Some(reading) = policy {
            text.field("policy", reading);
        }
        text.finish()
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one addition and a mix a number, 2^64 long, any seed is good.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator of its own for each list of numbers, such as `[seed, epoch, index]`.
    pub fn of(words: &[u64]) -> Self {
        let mut random = Self(0);
        for &word in words {
            random.0 = random.next_u64() ^ word;
        }
        // Mixed once more, so that neighboring lists do not run along the same cycle a few steps apart.
        Self(random.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 to `bound` - 1 (0 where `bound` is 0), by the high half of a product: its bias is below
    /// `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Fisher and Yates' shuffle, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Images cut into batches of `size`.
#[derive(Clone)]
pub struct Batches<'a> {
    samples: &'a dyn Samples,
    table: [f32; 256],
    size: usize,
    seed: u64,
    augmentation: Augmentation,
    teacher: Option<Arc<Teacher>>,
}

impl<'a> Batches<'a> {
    /// Batches of `size` images, in an order and with an augmentation that follow from `seed`.
    /// Fails where the images contradict themselves, or cannot fill one batch.
    pub fn new(
        samples: &'a dyn Samples,
        normalization: Normalization,
        size: usize,
        seed: u64,
        augmentation: Augmentation,
    ) -> Result<Self, DataError> {
        samples.check()?;
        let [height, width, channels] = samples.image();
        if height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels)).is_none_or(|numbers| numbers == 0)
        {
            let found = format!("{height} x {width} x {channels}");
            return Err(DataError::Shape {
                what: "images".into(),
                found,
                expected: "no 0, and a number of numbers".into(),
            });
        }
        if size == 0 || size > samples.count() {
            return Err(DataError::BatchSize { size, images: samples.count() });
        }
        Ok(Self { samples, table: normalization.table(), size, seed, augmentation, teacher: None })
    }

    /// The same with what a teacher says of each image.
    /// Fails where the teacher has said it of other images.
    pub fn taught_by(self, teacher: Option<Arc<Teacher>>) -> Result<Self, DataError> {
        teacher.as_ref().map_or(Ok(()), |teacher| teacher.check(self.samples))?;
        Ok(Self { teacher, ..self })
    }

    /// Images in a batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Batches in a training epoch; the images of a last, smaller one sit out, others in each epoch.
    pub fn count(&self) -> usize {
        self.samples.count() / self.size
    }

    /// Batches that cover every image once, the last one padded.
    pub fn evaluation_count(&self) -> usize {
        self.samples.count().div_ceil(self.size)
    }

    /// The batches of training epoch `epoch`, in their own order.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_, 'a> {
        let mut order: Vec<usize> = (0..self.samples.count()).collect();
        SplitMix64::of(&[self.seed, epoch]).shuffle(&mut order);
        Epoch { batches: self, epoch, order }
    }

    /// Writes images `indices`, normalized and as they are: `pixels` becomes `[indices, height, width, channels]`,
    /// `labels` `[indices]`, of pixels `[indices, height, width]`. Fails on an index beyond the images.
    pub fn batch(&self, indices: &[usize], pixels: &mut Vec<f32>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        self.write(indices, |_| None, pixels, labels)
    }

    /// Batch `at` of the images in their own order, without augmentation, as in [`Self::batch`]. The last batch is
    /// filled up to `size` with zeros of label 0, or of pixels that are to be ignored; the result is how many images are real.
    pub fn evaluation_batch(
        &self,
        at: usize,
        pixels: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<usize, DataError> {
        if at >= self.evaluation_count() {
            return Err(DataError::NoSuchBatch { at, count: self.evaluation_count() });
        }
        let first = at * self.size;
        let indices: Vec<usize> = (first..self.samples.count().min(first + self.size)).collect();
        self.batch(&indices, pixels, labels)?;
        let [numbers, each] = sizes(self.samples);
        pixels.resize(self.size * numbers, 0.0);
        labels.resize(self.size * each, self.samples.target().ignored().unwrap_or(0));
        Ok(indices.len())
    }

    /// Images and their labels one behind the other, made on all cores; of several that fail the first is told.
    fn write(
        &self,
        indices: &[usize],
        chance: impl Fn(usize) -> Chance + Sync,
        pixels: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let [numbers, each] = sizes(self.samples);
        pixels.resize(indices.len() * numbers, 0.0);
        labels.resize(indices.len() * each, 0);
        let places = pixels.par_chunks_exact_mut(numbers).zip(labels.par_chunks_exact_mut(each));
        let made: Vec<Result<(), DataError>> = indices
            .par_iter()
            .zip(places)
            .map(|(&index, (pixels, labels))| {
                let (mut bytes, chance) = (vec![0; numbers], chance(index));
                // What a label may be beside a class.
                let none = self.samples.target().ignored().or(chance.is_none().then_some(UNREAD));
                self.samples.sample(index, chance, &mut bytes, labels)?;
                let most = self.samples.classes().saturating_sub(1);
                let wrong = |&label: &u32| label as usize > most && none != Some(label);
                if let Some(at) = labels.iter().position(wrong) {
                    let file = format!("labels of image {index}");
                    return Err(DataError::Label { file, at, found: labels[at], most });
                }
                pixels.iter_mut().zip(bytes).for_each(|(number, byte)| *number = self.table[usize::from(byte)]);
                Ok(())
            })
            .collect();
        made.into_iter().collect()
    }
}

/// One shuffled pass over the images.
#[derive(Clone)]
pub struct Epoch<'b, 'a> {
    batches: &'b Batches<'a>,
    epoch: u64,
    order: Vec<usize>,
}

impl Epoch<'_, '_> {
    /// The images of batch `at`, by their place in the data; `None` beyond [`Batches::count`].
    pub fn indices(&self, at: usize) -> Option<&[usize]> {
        self.order.chunks_exact(self.batches.size).nth(at)
    }

    /// Writes training batch `at`: `pixels` becomes `[size, height, width, channels]`, normalized and augmented,
    /// `labels` `[size]`, of pixels `[size, height, width]`. Fails beyond the last batch.
    pub fn batch(&self, at: usize, pixels: &mut Vec<f32>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        let count = self.batches.count();
        let indices = self.indices(at).ok_or(DataError::NoSuchBatch { at, count })?;
        let Batches { seed, augmentation, .. } = *self.batches;
        let chance = |index| (SplitMix64::of(&[seed, self.epoch, index as u64]), augmentation);
        self.batches.write(indices, |index| Some(chance(index)), pixels, labels)
    }

    /// Writes what the teacher's file says of the images of batch `at`, `[size, classes]`; nothing where there is none.
    /// Fails where images could not be read so far, and others stand in for them.
    pub fn taught(&self, at: usize, rows: &mut Vec<f32>) -> Result<(), DataError> {
        let Batches { samples, teacher: Some(teacher), .. } = self.batches else { return Ok(()) };
        teacher.gather(*samples, self.indices(at).unwrap_or_default(), rows)
    }
}
