//! Batches of normalized images: shuffled, optionally flipped and shifted, each a pure function of seed, epoch and place.
//!
//! Nothing here has a state that advances, so a training run that resumes at batch k of epoch e asks for exactly that
//! batch and gets the bits that an uninterrupted run would have got.

use super::data::{DataError, Images};

/// How pixels become floats: `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Mean of `byte / 255` over the training images.
    pub mean: f32,
    /// Standard deviation of the same; 1 where all pixels are equal.
    pub std: f32,
}

impl Normalization {
    /// Mean and standard deviation of all pixels of `images`: integer sums, hence exact and the same on every machine.
    pub fn of(images: &Images) -> Self {
        let (mut sum, mut squares) = (0u64, 0u64);
        for &byte in &images.pixels {
            sum += u64::from(byte);
            squares += u64::from(byte) * u64::from(byte);
        }
        let count = images.pixels.len().max(1) as f64;
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Mirror half of the images, left to right.
    pub flip: bool,
    /// Move each image by up to this many pixels along both axes; black comes in from the border.
    pub shift: u8,
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
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    images: &'a Images,
    table: [f32; 256],
    size: usize,
    seed: u64,
    augmentation: Augmentation,
}

impl<'a> Batches<'a> {
    /// Batches of `size` images, in an order and with an augmentation that follow from `seed`.
    /// Fails where `images` contradict themselves, or cannot fill one batch.
    pub fn new(
        images: &'a Images,
        normalization: Normalization,
        size: usize,
        seed: u64,
        augmentation: Augmentation,
    ) -> Result<Self, DataError> {
        images.check()?;
        if size == 0 || size > images.count() {
            return Err(DataError::BatchSize { size, images: images.count() });
        }
        Ok(Self { images, table: normalization.table(), size, seed, augmentation })
    }

    /// Images in a batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Batches in a training epoch; the images of a last, smaller one sit out, others in each epoch.
    pub fn count(&self) -> usize {
        self.images.count() / self.size
    }

    /// Batches that cover every image once, the last one padded.
    pub fn evaluation_count(&self) -> usize {
        self.images.count().div_ceil(self.size)
    }

    /// The batches of training epoch `epoch`, in their own order.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_, 'a> {
        let mut order: Vec<usize> = (0..self.images.count()).collect();
        SplitMix64::of(&[self.seed, epoch]).shuffle(&mut order);
        Epoch { batches: self, epoch, order }
    }

    /// Writes images `indices`, normalized and as they are: `pixels` becomes `[indices, height, width, channels]`,
    /// `labels` `[indices]`, of pixels `[indices, height, width]`. Fails on an index beyond the images.
    pub fn batch(&self, indices: &[usize], pixels: &mut Vec<f32>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        if let Some(&at) = indices.iter().find(|&&index| index >= self.images.count()) {
            let (found, expected) = (at.to_string(), format!("less than {}", self.images.count()));
            return Err(DataError::Shape { what: "an index into the images".into(), found, expected });
        }
        pixels.clear();
        labels.clear();
        for &index in indices {
            pixels.extend(self.image(index).iter().map(|&byte| self.table[usize::from(byte)]));
            labels.extend(self.images.labels_of(index).iter().copied().map(u32::from));
        }
        Ok(())
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
        let indices: Vec<usize> = (first..self.images.count().min(first + self.size)).collect();
        self.batch(&indices, pixels, labels)?;
        pixels.resize(self.size * self.images.elems_per_image(), 0.0);
        labels.resize(self.size * self.images.labels_per_image(), self.images.target.ignored().unwrap_or(0));
        Ok(indices.len())
    }

    fn image(&self, index: usize) -> &[u8] {
        let elems = self.images.elems_per_image();
        &self.images.pixels[index * elems..(index + 1) * elems]
    }

    /// Appends image `index` and its labels, flipped and moved as its generator of (seed, epoch, index) decides. Pixels that come in
    /// from the border have no label.
    fn push_augmented(&self, index: usize, epoch: u64, pixels: &mut Vec<f32>, labels: &mut Vec<u32>) {
        let mut random = SplitMix64::of(&[self.seed, epoch, index as u64]);
        let flip = self.augmentation.flip && random.below(2) == 1;
        let reach = usize::from(self.augmentation.shift);
        let (down, right) = (random.below(2 * reach + 1), random.below(2 * reach + 1));
        let Images { height, width, channels, .. } = *self.images;
        let (image, own) = (self.image(index), self.images.labels_of(index));
        // What a pixel without a label has; nothing where images have labels.
        let without = self.images.target.ignored();
        if without.is_none() {
            labels.extend(own.iter().copied().map(u32::from));
        }
        // Where output row or column `to` comes from; `None` beyond the border. Offsets run from 0 to 2 reach.
        let from = |to: usize, offset: usize, size: usize| (to + offset).checked_sub(reach).filter(|&at| at < size);
        for row in 0..height {
            for column in 0..width {
                let column = if flip { width - 1 - column } else { column };
                match (from(row, down, height), from(column, right, width)) {
                    (Some(row), Some(column)) => {
                        let at = (row * width + column) * channels;
                        pixels.extend(image[at..at + channels].iter().map(|&byte| self.table[usize::from(byte)]));
                        labels.extend(without.map(|_| u32::from(own[row * width + column])));
                    }
                    _ => {
                        pixels.extend(std::iter::repeat_n(self.table[0], channels));
                        labels.extend(without);
                    }
                }
            }
        }
    }
}

/// One shuffled pass over the images.
#[derive(Debug, Clone)]
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
        if self.batches.augmentation == Augmentation::default() {
            return self.batches.batch(indices, pixels, labels);
        }
        pixels.clear();
        labels.clear();
        for &index in indices {
            self.batches.push_augmented(index, self.epoch, pixels, labels);
        }
        Ok(())
    }
}
