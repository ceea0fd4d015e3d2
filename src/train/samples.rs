//! What batches are made of: images of one shape with labels, from memory or from files.

use std::path::Path;

use super::batches::{Augmentation, Normalization, SplitMix64};
use super::data::{DataError, Dataset, Images, Source, Target};
use crate::picture::Picture;

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

    /// That there are images, and as many numbers as the shape says; [`DataError`] says what is wrong.
    ///
    /// # Errors
    /// When they contradict themselves.
    fn check(&self) -> Result<(), DataError>;

    /// Image `index` and its labels, each a byte: `pixels` `[height, width, channels]`, `labels` one, or `[height, width]`. With
    /// a chance as it says augmented, a function of nothing else.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read; the error names the file.
    fn sample(
        &self,
        index: usize,
        chance: Option<(SplitMix64, Augmentation)>,
        pixels: &mut [u8],
        labels: &mut [u8],
    ) -> Result<(), DataError>;
}

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
    /// What `source` names; of pictures in a folder `view` is what a network sees.
    ///
    /// # Errors
    /// When files are missing or damaged; the error names them.
    pub fn open(source: &Source, view: View) -> Result<Self, DataError> {
        let Dataset { train, test, name } = match source {
            Source::Embedded => Dataset::embedded()?,
            Source::Scenes => Dataset::scenes()?,
            Source::FashionMnist(dir) => Dataset::fashion_mnist(dir)?,
            Source::Folder(dir) => {
                let [train, test] = [part(dir, "train", view)?, part(dir, "test", view)?];
                return Ok(Self { train, test, name: of_folder(dir) });
            }
        };
        Ok(Self { train: Box::new(train), test: Box::new(test), name })
    }

    /// The images to test on alone, and what to call them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_test(source: &Source, view: View) -> Result<(Box<dyn Samples>, String), DataError> {
        match source {
            Source::Folder(dir) => Ok((part(dir, "test", view)?, of_folder(dir))),
            _ => Self::open(source, view).map(|split| (split.test, split.name)),
        }
    }
}

fn of_folder(dir: &Path) -> String {
    format!("pictures in {}", dir.display())
}

#[cfg(feature = "images")]
fn part(dir: &Path, name: &str, view: View) -> Result<Box<dyn Samples>, DataError> {
    Ok(Box::new(super::masked::MaskedPictures::open(dir, name, view)?))
}

#[cfg(not(feature = "images"))]
fn part(dir: &Path, _: &str, _: View) -> Result<Box<dyn Samples>, DataError> {
    Err(DataError::Feature { what: of_folder(dir), feature: "images" })
}

/// What a network sees of a picture that lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Height and width.
    pub size: [usize; 2],
    /// In training a picture's shorter side becomes so many times that of the view, drawn between these two; of what is larger than the
    /// view a part is cut out. To be tried on, it is seen whole.
    pub scale: [f64; 2],
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

    fn check(&self) -> Result<(), DataError> {
        Self::check(self)
    }

    fn sample(
        &self,
        index: usize,
        chance: Option<(SplitMix64, Augmentation)>,
        pixels: &mut [u8],
        labels: &mut [u8],
    ) -> Result<(), DataError> {
        if index >= Self::count(self) {
            return Err(no_such(index, Self::count(self)));
        }
        let elems = self.elems_per_image();
        let (image, own) = (&self.pixels[index * elems..(index + 1) * elems], self.labels_of(index));
        match chance {
            None => {
                pixels.copy_from_slice(image);
                labels.copy_from_slice(own);
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
        (pixels, labels): (&mut [u8], &mut [u8]),
    ) {
        let flip = augmentation.flip && random.below(2) == 1;
        let reach = usize::from(augmentation.shift);
        let (down, right) = (random.below(2 * reach + 1), random.below(2 * reach + 1));
        let Self { height, width, channels, .. } = *self;
        // What a pixel without a label has; nothing where images have labels.
        let without = self.target.ignored().map(|label| label as u8);
        if without.is_none() {
            labels.copy_from_slice(own);
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
                        labels[at] = own[there];
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

/// An index beyond the images.
pub(super) fn no_such(index: usize, count: usize) -> DataError {
    let (found, expected) = (index.to_string(), format!("less than {count}"));
    DataError::Shape { what: "an index into the images".into(), found, expected }
}
