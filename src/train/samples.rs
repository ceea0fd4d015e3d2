//! What batches are made of: images of one shape with labels, from memory or from files.

use std::path::Path;

use super::batches::{Augmentation, Normalization, SplitMix64};
use super::data::{self, DataError, Dataset, Images, Source, Target};
use crate::picture::Picture;

/// What an image is changed by at random, and how; nothing where it is seen as it is.
pub type Chance = Option<(SplitMix64, Augmentation)>;

/// Labeled images of one shape, made one at a time: what a network learns from, or is tried on.
pub trait Samples: Send + Sync {
    /// Number of images.
    fn count(&self) -> usize;

    /// Height, width and channels of each, as a network is shown it.
    fn image(&self) -> [usize; 3];

    /// What has a label.
    fn target(&self) -> Target;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Mean and standard deviation of their pixels, or of a sample of them.
    ///
    /// # Errors
    /// When an image cannot be read.
    fn normalization(&self) -> Result<Normalization, DataError>;

    /// A number that tells these images, in this order, from others.
    fn digest(&self) -> u64;

    /// The same, however pictures are seen: of what size, and how much of them. Asked in every pass, so it may look at some pixels alone.
    fn origin(&self) -> u64 {
        self.digest()
    }

    /// That there are images, and as many numbers as the shape says; [`DataError`] says what is wrong.
    ///
    /// # Errors
    /// When they contradict themselves.
    fn check(&self) -> Result<(), DataError>;

    /// Image `index` and its labels: `pixels` `[height, width, channels]`, a byte each, `labels` one, or `[height, width]`, each below
    /// the number of classes; of pixels also [`IGNORED`](super::data::IGNORED), and of an image that is tried on [`UNREAD`]. With a
    /// chance as it says augmented, a function of nothing else.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read; the error names the file.
    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError>;

    /// How many images could not be read so far and were [skipped](super::Skipping).
    fn skipped(&self) -> usize {
        0
    }
}

/// The label of an image that could not be read and does not count: where models are tried, never in training.
pub const UNREAD: u32 = u32::MAX;

/// Images to train on and images to test on.
pub struct Split {
    /// Images to train on.
    pub train: Box<dyn Samples>,
    /// Images never trained on.
    pub test: Box<dyn Samples>,
    /// What to call them in reports.
    pub name: String,
}

impl Split {
    /// What `source` names. Of pictures in files `view` is what a network sees; of a folder, which may be of either kind, `target` is
    /// what has a label.
    ///
    /// # Errors
    /// When files are missing or damaged; the error names them.
    pub fn open(source: &Source, target: Target, view: View) -> Result<Self, DataError> {
        let Dataset { train, test, name } = match source {
            Source::Embedded => Dataset::embedded()?,
            Source::Scenes => Dataset::scenes()?,
            Source::FashionMnist(dir) => Dataset::fashion_mnist(dir)?,
            Source::Cifar(dir) => Dataset::cifar(dir)?,
            Source::Folder(dir) => {
                let [train, test] = ["train", "test"].map(|part| in_folder(dir, part, (target, view)));
                return Ok(Self { train: train?, test: test?, name: of_folder(dir) });
            }
            Source::Shards(dir) => {
                let [train, test] = in_shards(dir, view)?;
                return Ok(Self { train, test, name: of_folder(dir) });
            }
        };
        Ok(Self { train: Box::new(train), test: Box::new(test), name })
    }

    /// The images to test on alone, and what to call them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_test(source: &Source, target: Target, view: View) -> Result<(Box<dyn Samples>, String), DataError> {
        match source {
            Source::Folder(dir) => Ok((in_folder(dir, "test", (target, view))?, of_folder(dir))),
            #[cfg(all(feature = "images", feature = "data"))]
            Source::Shards(dir) => Ok((Box::new(super::shards::open_test(dir, view)?), of_folder(dir))),
            _ => Self::open(source, target, view).map(|split| (split.test, split.name)),
        }
    }
}

fn of_folder(dir: &Path) -> String {
    format!("pictures in {}", dir.display())
}

#[cfg(feature = "images")]
fn in_folder(dir: &Path, part: &str, (target, view): (Target, View)) -> Result<Box<dyn Samples>, DataError> {
    Ok(match target {
        Target::Images => Box::new(super::pictures::Pictures::in_folders(dir, part, view)?),
        Target::Pixels => Box::new(super::masked::MaskedPictures::open(dir, part, view)?),
    })
}

#[cfg(not(feature = "images"))]
fn in_folder(dir: &Path, _: &str, _: (Target, View)) -> Result<Box<dyn Samples>, DataError> {
    Err(DataError::Feature { what: of_folder(dir), feature: "images" })
}

#[cfg(all(feature = "images", feature = "data"))]
fn in_shards(dir: &Path, view: View) -> Result<[Box<dyn Samples>; 2], DataError> {
    let [train, test] = super::shards::open(dir, view)?;
    Ok([Box::new(train), Box::new(test)])
}

#[cfg(not(all(feature = "images", feature = "data")))]
fn in_shards(dir: &Path, _: View) -> Result<[Box<dyn Samples>; 2], DataError> {
    let feature = if cfg!(feature = "images") { "data" } else { "images" };
    Err(DataError::Feature { what: of_folder(dir), feature })
}

/// What a network sees of a picture that lies in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Height and width.
    pub size: [usize; 2],
    /// Between which two a number is drawn in training. Of a picture with a mask the shorter side becomes so many times that of the
    /// view, 0.1 to 10, and of what is larger than the view a part is cut out; to be tried on, it is seen whole. Of a picture with a
    /// class a part with so much of its area is cut out, 0.0001 to 1; to be tried on, its middle is seen.
    pub scale: [f64; 2],
}

/// Pictures from which mean and deviation are taken, spread over all.
const MEASURED: usize = 64;

/// Some of `count` images, spread over all: enough to take mean and deviation from.
pub(super) fn measured(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(count.div_ceil(MEASURED).max(1))
}

/// Mean and deviation of some images, as they are tried on.
pub(super) fn normalization_of(
    samples: &dyn Samples,
    read: impl Fn(usize, &mut [u8], &mut [u32]) -> Result<(), DataError>,
) -> Result<Normalization, DataError> {
    let [numbers, each] = sizes(samples);
    let (mut pixels, mut labels, mut counts) = (vec![0; numbers], vec![0; each], [0u64; 256]);
    for index in measured(samples.count()) {
        read(index, &mut pixels, &mut labels)?;
        pixels.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    }
    Ok(Normalization::of_counts(&counts))
}

/// Numbers of an image, and labels of one.
pub(super) fn sizes(samples: &dyn Samples) -> [usize; 2] {
    let [height, width, channels] = samples.image();
    [height * width * channels, samples.target().labels([1, height, width, channels]).count()]
}

impl Samples for Images {
    fn count(&self) -> usize {
        Self::count(self)
    }

    fn image(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    fn target(&self) -> Target {
        self.target
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        Ok(Normalization::of(&self.pixels))
    }

    fn digest(&self) -> u64 {
        Self::digest(self)
    }

    fn origin(&self) -> u64 {
        // Prime, so that all columns are looked at.
        data::digest(self.labels.iter().chain(self.pixels.iter().step_by(61)).copied())
    }

    fn check(&self) -> Result<(), DataError> {
        Self::check(self)
    }

    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        if index >= Self::count(self) {
            return Err(no_such(index, Self::count(self)));
        }
        let elems = self.elems_per_image();
        let (image, own) = (&self.pixels[index * elems..(index + 1) * elems], self.labels_of(index));
        match chance {
            None => {
                pixels.copy_from_slice(image);
                copy_labels(own, labels);
            }
            Some((mut random, augmentation)) => {
                self.moved((image, own), &mut random, augmentation, (&mut *pixels, labels));
                if let (Some(reading), Target::Images) = (augmentation.policy, self.target) {
                    let size = [self.height, self.width];
                    let mut picture = Picture { size, channels: self.channels, pixels: pixels.to_vec() };
                    reading.apply(&mut picture, &mut random)?;
                    pixels.copy_from_slice(&picture.pixels);
                }
            }
        }
        Ok(())
    }
}

impl Images {
    /// Flipped and moved at random. Black comes in from the border; such pixels have no label.
    fn moved(
        &self,
        (image, own): (&[u8], &[u8]),
        random: &mut SplitMix64,
        augmentation: Augmentation,
        (pixels, labels): (&mut [u8], &mut [u32]),
    ) {
        let flip = augmentation.flip && random.below(2) == 1;
        let reach = usize::from(augmentation.shift);
        let (down, right) = (random.below(2 * reach + 1), random.below(2 * reach + 1));
        let Self { height, width, channels, .. } = *self;
        // What a pixel without a label has; nothing where images have labels.
        let without = self.target.ignored();
        if without.is_none() {
            copy_labels(own, labels);
        }
        // Where output row or column `to` comes from; `None` beyond the border. Offsets run from 0 to 2 reach.
        let from = |to: usize, offset: usize, size: usize| (to + offset).checked_sub(reach).filter(|&at| at < size);
        for at in 0..height * width {
            let column = if flip { width - 1 - at % width } else { at % width };
            let place = from(at / width, down, height).zip(from(column, right, width));
            let pixel = &mut pixels[at * channels..(at + 1) * channels];
            match place {
                Some((row, column)) => {
                    let there = row * width + column;
                    pixel.copy_from_slice(&image[there * channels..(there + 1) * channels]);
                    if without.is_some() {
                        labels[at] = own[there].into();
                    }
                }
                None => {
                    pixel.fill(0);
                    if let Some(label) = without {
                        labels[at] = label;
                    }
                }
            }
        }
    }
}

fn copy_labels(own: &[u8], labels: &mut [u32]) {
    labels.iter_mut().zip(own).for_each(|(label, &own)| *label = own.into());
}

/// An index beyond the images.
pub(super) fn no_such(index: usize, count: usize) -> DataError {
    let (found, expected) = (index.to_string(), format!("less than {count}"));
    DataError::Shape { what: "an index into the images".into(), found, expected }
}
