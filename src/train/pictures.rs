//! Pictures with a class each: read as they are needed, cut out and mirrored.
//!
//! ```text
//! DIR/train/CLASS/NAME.jpg     or .jpeg, .png: pictures to train on; the classes are these folders in the order of their names
//! DIR/test/CLASS/NAME.jpg      pictures that are never trained on; without test/ those of val/
//! ```

use std::path::{Path, PathBuf};

use super::batches::{Augmentation, Normalization, SplitMix64};
use super::data::{DataError, Target, digest};
use super::folder::{self, CLASSIFYING, PICTURES, SHAPES, listed, refused, shown};
use super::samples::{Samples, View, no_such, normalization_of};
use crate::picture::{Picture, resize};

/// Red, green and blue.
const CHANNELS: usize = 3;
/// Shares of a picture's area between which one may be drawn.
const AREAS: [f64; 2] = [0.0001, 1.0];
/// How many times as wide as high a part may be, beside what the view is.
const RATIOS: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// How often a part is drawn until one lies within the picture.
const TRIES: usize = 10;

/// Pictures to train on, or to test on.
#[derive(Debug)]
pub struct Pictures {
    pictures: Vec<Labeled>,
    view: View,
    classes: usize,
    digest: u64,
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
        let head = format!("{view:?} of {classes} classes").into_bytes();
        let names = pictures.iter().flat_map(|one| format!(" {} {}", one.stored.name(), one.label).into_bytes());
        let digest = digest(head.into_iter().chain(names));
        Ok(Self { pictures, view, classes, digest })
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

/// Where a part of a picture begins, and its height and width.
type Part = ([usize; 2], [usize; 2]);

/// A part of a picture drawn as torchvision's `RandomResizedCrop` does: so much of its area between `scale`, as wide as high to 3/4 or
/// 4/3, beside what the view is; if none of ten lies within, the largest in the middle.
fn drawn(size: [usize; 2], view: View, random: &mut SplitMix64) -> Part {
    let [height, width] = size.map(|side| side as f64);
    let own = view.size[1] as f64 / view.size[0] as f64;
    let [narrow, wide] = RATIOS.map(|ratio| ratio * own);
    let mut between = |[least, most]: [f64; 2]| {
        let share = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        least + (most - least) * share
    };
    for _ in 0..TRIES {
        let area = height * width * between(view.scale);
        let ratio = between([narrow.ln(), wide.ln()]).exp();
        let part = [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|side| side.round() as usize);
        if (0..2).all(|axis| (1..=size[axis]).contains(&part[axis])) {
            let mut first = |axis: usize| {
                let room = size[axis] - part[axis] + 1;
                ((between([0.0, room as f64])) as usize).min(room - 1)
            };
            return ([first(0), first(1)], part);
        }
    }
    let part = match width / height {
        ratio if ratio < narrow => [width / narrow, width],
        ratio if ratio > wide => [height, height * wide],
        _ => [height, width],
    };
    let part = [0, 1].map(|axis| (part[axis].round() as usize).clamp(1, size[axis]));
    ([0, 1].map(|axis| (size[axis] - part[axis]) / 2), part)
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

    fn check(&self) -> Result<(), DataError> {
        Ok(()) // each picture is checked when it is read
    }

    fn sample(
        &self,
        index: usize,
        chance: Option<(SplitMix64, Augmentation)>,
        pixels: &mut [u8],
        labels: &mut [u32],
    ) -> Result<(), DataError> {
        let Labeled { stored, label } = self.pictures.get(index).ok_or_else(|| no_such(index, self.pictures.len()))?;
        let picture = stored.read()?;
        let wrong = |problem| refused(&stored.path(), problem, SHAPES);
        folder::check_shape(picture.size).map_err(wrong)?;
        let seen = match chance {
            None => self.middle(&picture).map_err(wrong)?,
            Some((mut random, augmentation)) => {
                let (first, size) = drawn(picture.size, self.view, &mut random);
                let seen = resize(&picture.part(first, size), self.view.size);
                // As large as the view, `[height, width, 3]`: what else changes pictures in training follows here.
                if augmentation.flip && random.below(2) == 1 { seen.mirrored() } else { seen }
            }
        };
        pixels.copy_from_slice(&seen.pixels);
        labels.fill(*label);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(size: [usize; 2]) -> View {
        View { size, scale: [0.08, 1.0] }
    }

    #[test]
    fn parts_lie_within_have_their_area_and_are_nearly_as_wide_as_high() {
        for (size, seen) in [([60, 80], [32, 32]), ([80, 60], [32, 32]), ([90, 90], [16, 32])] {
            let mut areas = Vec::new();
            for seed in 0..500 {
                let (first, part) = drawn(size, view(seen), &mut SplitMix64::of(&[seed]));
                assert!(
                    (0..2).all(|axis| part[axis] > 0 && first[axis] + part[axis] <= size[axis]),
                    "{first:?} {part:?}"
                );
                let ratio = part[1] as f64 / part[0] as f64 / (seen[1] as f64 / seen[0] as f64);
                assert!((0.65..1.55).contains(&ratio), "{part:?} of {size:?}");
                areas.push((part[0] * part[1]) as f64 / (size[0] * size[1]) as f64);
            }
            let mean = areas.iter().sum::<f64>() / 500.0;
            let [least, most] = [f64::min, f64::max].map(|of| areas.iter().copied().reduce(of).unwrap_or(0.0));
            assert!(least > 0.06 && least < 0.12 && most > 0.65 && (0.3..0.6).contains(&mean), "{least} {mean} {most}");
        }
    }

    #[test]
    fn of_a_picture_in_which_no_part_lies_the_middle_is_seen() {
        let whole = View { size: [32, 32], scale: [1.0; 2] };
        let part = |size| drawn(size, whole, &mut SplitMix64::of(&[3]));
        assert_eq!(part([30, 300]), ([0, 130], [30, 40]));
        assert_eq!(part([300, 30]), ([130, 0], [40, 30]));
        assert_eq!(part([1, 1]), ([0, 0], [1, 1]));
    }
}
