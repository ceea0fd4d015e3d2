//! A folder for classification, small: blue, green and red pictures of other sizes, brighter from left to right and from top to bottom.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The classes, in order; of each its color is the brightest.
pub(crate) const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// Height and width of picture `at`.
pub(crate) fn size(at: usize) -> [usize; 2] {
    [[20, 30], [36, 24], [25, 25]][at % 3]
}

fn picture(class: usize, at: usize) -> image::RgbImage {
    let [height, width] = size(at);
    image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let mut color = [(x * 3) as u8, (y * 3) as u8, (at * 11 % 90) as u8];
        color[2 - class] = 200 + (at % 50) as u8;
        image::Rgb(color)
    })
}

/// The file of picture `at` of a class.
pub(crate) fn file(dir: &Path, part: &str, class: usize, at: usize) -> PathBuf {
    dir.join(part).join(CLASSES[class]).join(format!("{at:03}.png"))
}

/// Writes so many pictures a class to train on, and to test on.
pub(crate) fn draw(dir: &Path, counts: [usize; 2]) -> Result<(), Box<dyn Error>> {
    for (part, count) in ["train", "test"].iter().zip(counts) {
        for (class, name) in CLASSES.iter().enumerate() {
            fs::create_dir_all(dir.join(part).join(name))?;
            for at in 0..count {
                picture(class, at).save(file(dir, part, class, at))?;
            }
        }
    }
    Ok(())
}
