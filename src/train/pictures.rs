//! Pictures with a class each: read as they are needed, cut out and mirrored.
//!
//! ```text
//! DIR/train/CLASS/NAME.jpg     or .jpeg, .png: pictures to train on; the classes are these folders in the order of their names
//! DIR/test/CLASS/NAME.jpg      pictures that are never trained on; without test/ those of val/
//! ```

use std::path::{Path, PathBuf};

use super::augment::random_crop;
use super::batches::Normalization;
use super::data::{DataError, Target, digest};
use super::folder::{self, CLASSIFYING, PICTURES, SHAPES, listed, refused, shown};
use super::samples::{Chance, Samples, View, no_such, normalization_of};
use crate::picture::{Picture, resize};

/// Red, green and blue.
const CHANNELS: usize = 3;
/// Shares of a picture's area between which one may be drawn.
const AREAS: [f64; 2] = [0.0001, 1.0];

/// Pictures to train on, or to test on.
#[derive(Debug)]
pub struct Pictures {
    pictures: Vec<Labeled>,
    view: View,
    classes: usize,
    digest: u64,
    origin: u64,
}

/// A picture and its class.
#[derive(Debug)]
pub(super) struct Labeled {
    pub(super) stored: Stored,
    pub(super) label: u32,
}

/// Where a picture lies.
#[derive(Debug)]
pub(super) enum Stored {
    File(PathBuf),
    #[cfg(feature = "data")]
    Member(super::shards::Member),
}

impl Stored {
    fn read(&self) -> Result<Picture, DataError> {
        match self {
            Self::File(path) => Ok(Picture::open(path)?),
            #[cfg(feature = "data")]
            Self::Member(member) => member.read(),
        }
    }

    /// What errors call it.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            #[cfg(feature = "data")]
            Self::Member(member) => member.path(),
        }
    }

    /// What tells it from others, wherever the folder lies.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            #[cfg(feature = "data")]
            Self::Member(member) => member.name().to_owned(),
        }
    }
}

impl Pictures {
    /// The part `train` or `test` of a folder. Names are read; pictures when they are needed. Where there is nothing to train on, the
    /// classes are those of the other part.
    ///
    /// # Errors
    /// When a folder is missing or of another kind, a class has no pictures to train on, or one to be tried on is not among those that
    /// are learned; or the view is none.
    pub fn in_folders(dir: &Path, part: &str, view: View) -> Result<Self, DataError> {
        let own = if part == "train" { dir.join(part) } else { tried_on(dir, part) };
        if ["images", "masks"].iter().all(|name| own.join(name).exists()) {
            let problem = "it has images and masks: is it a folder for segmentation? Then give --task segment, or a --model that does";
            return Err(refused(&own, problem.to_owned(), CLASSIFYING));
        }
        let learned = if dir.join("train").exists() { folders(&dir.join("train"))? } else { folders(&own)? };
        let mut pictures = Vec::new();
        for folder in folders(&own)? {
            let Some(label) = learned.iter().position(|class| class.file_name() == folder.file_name()) else {
                return Err(refused(&folder, "there is no such class in train".to_owned(), CLASSIFYING));
            };
            let files = listed(&folder, &PICTURES, CLASSIFYING)?;
            if files.is_empty() && part == "train" {
                return Err(refused(&folder, "there are no pictures".to_owned(), CLASSIFYING));
            }
            pictures.extend(files.into_iter().map(|file| Labeled { stored: Stored::File(file), label: label as u32 }));
        }
        if pictures.is_empty() {
            return Err(refused(&own, "there are no pictures".to_owned(), CLASSIFYING));
        }
        Self::of(pictures, learned.len(), view)
    }

    /// These pictures, of so many classes.
    pub(super) fn of(pictures: Vec<Labeled>, classes: usize, view: View) -> Result<Self, DataError> {
        folder::check(view, AREAS, "of its area")?;
        // Names, and how they are seen; what is in the files is not compared, so that a damaged one may be mended.
        let of = |head: String| {
            let names = pictures.iter().flat_map(|one| format!(" {} {}", one.stored.name(), one.label).into_bytes());
            digest(head.into_bytes().into_iter().chain(names))
        };
        let origin = of(format!("{classes} classes"));
        let digest = of(format!("{view:?} of {classes} classes"));
        Ok(Self { pictures, view, classes, digest, origin })
    }

    /// What is seen of a picture that the network is tried on: with the shorter side at 8/7 of the view, which is 256 of 224, the middle.
    fn middle(&self, picture: &Picture) -> Result<Picture, String> {
        let [height, width] = picture.size;
        let shorter = (self.view.size[0].max(self.view.size[1]) * 8).div_ceil(7);
        // As torchvision computes it: a whole number, rounded down.
        let longer = (shorter as u128 * height.max(width) as u128 / height.min(width).max(1) as u128) as usize;
        let size = if height <= width { [shorter, longer] } else { [longer, shorter] };
        folder::check_resized(size)?;
        Ok(resize(picture, size).middle(self.view.size))
    }
}

/// The names of a folder's classes: those of the folders that pictures to train on lie in, in their order.
///
/// # Errors
/// When a folder is missing or of another kind.
pub fn class_names(dir: &Path) -> Result<Vec<String>, DataError> {
    let name = |folder: PathBuf| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(folders(&dir.join("train"))?.into_iter().map(name).collect())
}

/// Where pictures lie that are tried on: in `test`, or else in `val`.
fn tried_on(dir: &Path, part: &str) -> PathBuf {
    let [own, other] = [part, "val"].map(|name| dir.join(name));
    if !own.exists() && other.exists() { other } else { own }
}

/// The folders of classes, by name.
fn folders(part: &Path) -> Result<Vec<PathBuf>, DataError> {
    let folders = shown(part, CLASSIFYING)?;
    match folders.iter().find(|path| !path.is_dir()) {
        Some(file) => Err(refused(file, "here are folders, one a class".to_owned(), CLASSIFYING)),
        None if folders.is_empty() => Err(refused(part, "there are no classes".to_owned(), CLASSIFYING)),
        None => Ok(folders),
    }
}

impl Samples for Pictures {
    fn count(&self) -> usize {
        self.pictures.len()
    }

    fn image(&self) -> [usize; 3] {
        [self.view.size[0], self.view.size[1], CHANNELS]
    }

    fn target(&self) -> Target {
        Target::Images
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        normalization_of(self, |index, pixels, labels| self.sample(index, None, pixels, labels))
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn origin(&self) -> u64 {
        self.origin
    }

    fn check(&self) -> Result<(), DataError> {
        Ok(()) // each picture is checked when it is read
    }

    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        let Labeled { stored, label } = self.pictures.get(index).ok_or_else(|| no_such(index, self.pictures.len()))?;
        let picture = stored.read()?;
        let wrong = |problem| refused(&stored.path(), problem, SHAPES);
        folder::check_shape(picture.size).map_err(wrong)?;
        let seen = match chance {
            None => self.middle(&picture).map_err(wrong)?,
            Some((mut random, augmentation)) => {
                let part = random_crop(picture.size, self.view.size, self.view.scale, &mut random);
                let mut seen = resize(&picture.part(part.first, part.size), self.view.size);
                if augmentation.flip && random.below(2) == 1 {
                    seen = seen.mirrored();
                }
                if let Some(reading) = augmentation.policy {
                    reading.apply(&mut seen, &mut random)?;
                }
                seen
            }
        };
        pixels.copy_from_slice(&seen.pixels);
        labels.fill(*label);
        Ok(())
    }
}
