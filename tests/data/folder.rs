//! A folder for segmentation, small: gray ground, a red and a green bar of other sizes in every picture, and masks of them.

use std::error::Error;
use std::fs;
use std::path::Path;

/// The colors of ground and bars, by class.
pub(crate) const COLORS: [[u8; 3]; 3] = [[40, 40, 40], [220, 20, 20], [20, 220, 20]];

/// The class of a pixel of picture `at`, of this height and width: a red bar down the left third, a green one along the bottom.
fn class(at: usize, [height, width]: [usize; 2], [row, column]: [usize; 2]) -> u8 {
    match (row * 4 >= height * 3, column * 3 < width) {
        (true, _) if at % 3 != 2 => 2,
        (_, true) => 1,
        _ => 0,
    }
}

/// Height and width of picture `at`.
pub(crate) fn size(at: usize) -> [usize; 2] {
    [[40, 64], [72, 48], [33, 57]][at % 3]
}

/// Writes classes, and so many pictures with their masks to train on and to test on.
pub(crate) fn draw(dir: &Path, counts: [usize; 2]) -> Result<(), Box<dyn Error>> {
    fs::write(dir.join("classes.txt"), "ground\nred bar\ngreen bar\n\n")?;
    for (part, count) in ["train", "test"].iter().zip(counts) {
        let [images, masks] = ["images", "masks"].map(|kind| dir.join(part).join(kind));
        fs::create_dir_all(&images)?;
        fs::create_dir_all(&masks)?;
        for at in 0..count {
            let [height, width] = size(at);
            let class = |column: u32, row: u32| class(at, [height, width], [row as usize, column as usize]);
            let [columns, rows] = [width as u32, height as u32];
            let picture = image::RgbImage::from_fn(columns, rows, |x, y| image::Rgb(COLORS[usize::from(class(x, y))]));
            picture.save(images.join(format!("{at:03}.png")))?;
            let mask = image::GrayImage::from_fn(columns, rows, |x, y| image::Luma([class(x, y)]));
            mask.save(masks.join(format!("{at:03}.png")))?;
        }
    }
    Ok(())
}
