//! Pictures in a folder, each with a mask of classes: read as they are needed, scaled, cropped and mirrored.
//!
//! ```text
//! DIR/classes.txt               the classes' names, one a line; a mask's 0 is the first, its 255 is no class
//! DIR/train/images/NAME.jpg     or .png: pictures to train on
//! DIR/train/masks/NAME.png      gray or indexed, as large as the picture
//! DIR/test/images/, masks/      pictures that are never trained on
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::batches::Normalization;
use super::data::{DataError, IGNORED, Target, digest};
use super::folder::{self, PICTURES, SEGMENTING, SHAPES, listed};
use super::samples::{Chance, Samples, View, measured, no_such};
use crate::picture::{Mask, Picture, resize};

/// Red, green and blue.
const CHANNELS: usize = 3;
/// What stands beside a picture that is smaller than the view: the mean of ImageNet's.
const BESIDE: u8 = 114;
/// Scales between which one may be drawn.
const SCALES: [f64; 2] = [0.1, 10.0];

/// One part of a folder.
#[derive(Debug)]
pub struct MaskedPictures {
    /// Picture and mask.
    files: Vec<[PathBuf; 2]>,
    view: View,
    classes: usize,
    digest: u64,
}

/// The names of a folder's classes.
///
/// # Errors
/// When there is no `classes.txt`, or it names none, or more than masks can tell apart, or leaves a line blank between two names.
pub fn classes(dir: &Path) -> Result<Vec<String>, DataError> {
    let file = dir.join("classes.txt");
    let names = folder::names(&file, SEGMENTING)?;
    match names.len() {
        1..=255 => Ok(names),
        count => Err(refused(&file, format!("it names {count} classes, and masks tell 1 to 255 apart"))),
    }
}

impl MaskedPictures {
    /// The part `train` or `test` of a folder. Names are read; pictures when they are needed.
    ///
    /// # Errors
    /// When a file is missing or no such file, or the view is none.
    pub fn open(dir: &Path, part: &str, view: View) -> Result<Self, DataError> {
        folder::check(view, SCALES, "times the size")?;
        if !dir.join("classes.txt").exists() && dir.join(part).is_dir() && !dir.join(part).join("images").exists() {
            let problem = "there is no classes.txt: is it a folder of pictures a class? Then give --task classify, or a --model that does";
            return Err(refused(dir, problem.to_owned()));
        }
        let classes = classes(dir)?.len();
        let files = pairs(&dir.join(part))?;
        let digest = digest_of(&files, view, classes);
        Ok(Self { files, view, classes, digest })
    }

    fn read(&self, index: usize) -> Result<(Picture, Mask), DataError> {
        let [picture, mask] = self.files.get(index).ok_or_else(|| no_such(index, self.files.len()))?;
        let (seen, told) = (Picture::open(picture)?, Mask::open(mask)?);
        let [height, width] = seen.size;
        if told.size != seen.size {
            let [rows, columns] = told.size;
            let problem = format!("it is {rows} x {columns} pixels, and its picture {height} x {width}");
            return Err(refused(mask, problem));
        }
        folder::check_shape(seen.size).map_err(|problem| folder::refused(picture, problem, SHAPES))?;
        let wrong = |&class: &u8| usize::from(class) >= self.classes && u32::from(class) != IGNORED;
        match told.classes.iter().position(wrong) {
            None => Ok((seen, told)),
            Some(at) => {
                let (file, found) = (mask.display().to_string(), told.classes[at].into());
                Err(DataError::Label { file, at, found, most: self.classes - 1 })
            }
        }
    }

    /// How large a picture becomes, where its first row and column come to lie, and whether it is mirrored.
    fn place(&self, size: [usize; 2], chance: Chance) -> Place {
        let view = self.view.size;
        let times = |factor: f64| size.map(|side| ((side as f64 * factor).round() as usize).max(1));
        let Some((mut random, augmentation)) = chance else {
            let factor = (view[0] as f64 / size[0] as f64).min(view[1] as f64 / size[1] as f64);
            let size = times(factor);
            let first = [0, 1].map(|axis| (view[axis] as i64 - size[axis] as i64) / 2);
            return Place { size, first, mirrored: false };
        };
        let [least, most] = self.view.scale;
        let drawn = random.below(1 << 20) as f64 / f64::from((1 << 20) - 1);
        let shorter = view[0].min(view[1]) as f64 / size[0].min(size[1]) as f64;
        let size = times(shorter * (least + (most - least) * drawn));
        let first = [0, 1].map(|axis| {
            let room = view[axis].abs_diff(size[axis]);
            let part = random.below(room + 1) as i64;
            if size[axis] > view[axis] { -part } else { part }
        });
        Place { size, first, mirrored: augmentation.flip && random.below(2) == 1 }
    }
}

/// Where a picture comes to lie in a view.
struct Place {
    size: [usize; 2],
    first: [i64; 2],
    mirrored: bool,
}

impl Samples for MaskedPictures {
    fn count(&self) -> usize {
        self.files.len()
    }

    fn image(&self) -> [usize; 3] {
        [self.view.size[0], self.view.size[1], CHANNELS]
    }

    fn target(&self) -> Target {
        Target::Pixels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        let mut counts = [0u64; 256];
        for index in measured(self.files.len()) {
            Picture::open(&self.files[index][0])?.pixels.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        }
        Ok(Normalization::of_counts(&counts))
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn check(&self) -> Result<(), DataError> {
        Ok(()) // each picture is checked when it is read
    }

    fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        let (picture, mask) = self.read(index)?;
        let Place { size, first, mirrored } = self.place(picture.size, chance);
        folder::check_resized(size).map_err(|problem| folder::refused(&self.files[index][0], problem, SHAPES))?;
        let resized = resize(&picture, size);
        // Where the middle of a pixel lies, as pixels were resized.
        let from = |axis: usize, at: usize| (2 * at + 1) * picture.size[axis] / (2 * size[axis]);
        let [height, width] = self.view.size;
        pixels.fill(BESIDE);
        labels.fill(IGNORED);
        let inside =
            |axis: usize, at: usize| usize::try_from(at as i64 - first[axis]).ok().filter(|&place| place < size[axis]);
        for at in 0..height * width {
            let column = if mirrored { width - 1 - at % width } else { at % width };
            let Some((row, column)) = inside(0, at / width).zip(inside(1, column)) else { continue };
            let there = (row * size[1] + column) * CHANNELS;
            pixels[at * CHANNELS..][..CHANNELS].copy_from_slice(&resized.pixels[there..][..CHANNELS]);
            labels[at] = mask.classes[from(0, row) * picture.size[1] + from(1, column)].into();
        }
        Ok(())
    }
}

/// Pictures and their masks in the order of their names.
fn pairs(part: &Path) -> Result<Vec<[PathBuf; 2]>, DataError> {
    let [images, masks] = ["images", "masks"].map(|name| part.join(name));
    let stem = |path: &Path| path.file_stem().map(ToOwned::to_owned);
    let pictures = listed(&images, &PICTURES, SEGMENTING)?;
    let mut told: BTreeMap<_, _> =
        listed(&masks, &["png"], SEGMENTING)?.into_iter().map(|mask| (stem(&mask), mask)).collect();
    if pictures.is_empty() {
        return Err(refused(&images, "there are no pictures".to_owned()));
    }
    let mut pairs = Vec::with_capacity(pictures.len());
    for picture in pictures {
        match told.remove(&stem(&picture)) {
            Some(mask) => pairs.push([picture, mask]),
            None => return Err(refused(&picture, format!("it has no mask of its name in {}", masks.display()))),
        }
    }
    match told.values().next() {
        None => Ok(pairs),
        Some(mask) => Err(refused(mask, format!("it has no picture of its name in {}", images.display()))),
    }
}

/// Names, and how they are seen; what is in the files is not compared, so that a damaged one may be mended.
fn digest_of(files: &[[PathBuf; 2]], view: View, classes: usize) -> u64 {
    let mut told = format!("{view:?} {classes}");
    for file in files.iter().flatten() {
        told += &format!(" {}", file.file_name().unwrap_or_default().to_string_lossy());
    }
    digest(told.bytes())
}

fn refused(path: &Path, problem: String) -> DataError {
    folder::refused(path, problem, SEGMENTING)
}
