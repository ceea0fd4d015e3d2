//! What pictures in files have in common, masks beside them or not: how folders look, and what is refused of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data::DataError;
use super::samples::View;
use crate::picture::MOST_RESIZED;

/// Endings of pictures' names.
pub(super) const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];
/// How many times as long as wide a picture may be.
const MOST_LONG: usize = 64;
/// What pictures may be.
pub(super) const SHAPES: &str =
    "a picture is at most 64 times as long as wide, and has at most 2^27 pixels where it is resized";
/// How a folder for segmentation looks.
pub(super) const SEGMENTING: &str = "a folder for segmentation has classes.txt, a name a line, and train/images, train/masks, test/images \
                                     and test/masks; a mask is a PNG of its picture's name and size";
/// How a folder for classification looks.
pub(super) const CLASSIFYING: &str = "a folder for classification has a folder of PNG or JPEG pictures a class, train/CLASS and \
                                      test/CLASS or val/CLASS";

/// That there is something to see, at scales within these.
pub(super) fn check(view: View, scales: [f64; 2], unit: &str) -> Result<(), DataError> {
    let ([least, most], [height, width]) = (view.scale, view.size);
    let pixels = (height as u64).saturating_mul(width as u64);
    if scales[0] <= least && least <= most && most <= scales[1] && (1..=MOST_RESIZED).contains(&pixels) {
        return Ok(());
    }
    let found = format!("{height} x {width} pixels at {least} to {most} {unit}");
    let expected = format!("1 to 2^27 pixels, at {} to {} {unit}, the smaller first", scales[0], scales[1]);
    Err(DataError::Shape { what: "what is seen of a picture".into(), found, expected })
}

/// That a picture is not far longer than wide: resized, it would be vast.
pub(super) fn check_shape([height, width]: [usize; 2]) -> Result<(), String> {
    match height.min(width) * MOST_LONG < height.max(width) {
        false => Ok(()),
        true => Err(format!("it is {height} x {width}, too long for its width: cut out a part")),
    }
}

/// That a picture of this height and width can lie in memory.
pub(super) fn check_resized([height, width]: [usize; 2]) -> Result<(), String> {
    match (height as u64).saturating_mul(width as u64) <= MOST_RESIZED {
        true => Ok(()),
        false => Err(format!("it would become {height} x {width} pixels: take a smaller --scale or --size")),
    }
}

/// The lines of a file, each the name of a class.
pub(super) fn names(file: &Path, layout: &'static str) -> Result<Vec<String>, DataError> {
    let text = fs::read_to_string(file).map_err(|source| refused(file, source.to_string(), layout))?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        None => Ok(names),
        Some(at) => {
            let problem = format!("line {} is blank: which class has number {at}?", at + 1);
            Err(refused(file, problem, layout))
        }
    }
}

/// The files of a folder with one of these endings, by name; hidden ones do not count.
pub(super) fn listed(dir: &Path, endings: &[&str], layout: &'static str) -> Result<Vec<PathBuf>, DataError> {
    let files = shown(dir, layout)?;
    let is = |path: &Path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| endings.contains(&&*ending))
    };
    match files.iter().find(|file| !is(file)) {
        None => Ok(files),
        Some(file) => Err(refused(file, format!("here are files ending in {}", endings.join(", ")), layout)),
    }
}

/// What is in a folder, by name; hidden files do not count.
pub(super) fn shown(dir: &Path, layout: &'static str) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source: io::Error| refused(dir, source.to_string(), layout);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A file or folder that is not as it should be.
pub(super) fn refused(path: &Path, problem: String, layout: &'static str) -> DataError {
    DataError::Folder { path: path.display().to_string(), problem, layout }
}
