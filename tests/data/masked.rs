//! Pictures with masks in a folder: what a network is shown of them, and what is refused, by name.

use std::error::Error;
use std::fs;
use std::path::Path;

use vistok::train::batches::{Augmentation, Batches, Normalization, SplitMix64};
use vistok::train::data::{DataError, Target};
use vistok::train::masked::MaskedPictures;
use vistok::train::{Chance, Samples, View};

use crate::folder::{COLORS, draw, size};

type Outcome = Result<(), Box<dyn Error>>;

const VIEW: View = View { size: [32, 48], scale: [0.5, 2.0] };
const FLIP: Augmentation = Augmentation { flip: true, shift: 0, policy: None };

/// Pictures to train on and to test on.
fn both(dir: &Path, view: View) -> Result<[MaskedPictures; 2], DataError> {
    Ok([MaskedPictures::open(dir, "train", view)?, MaskedPictures::open(dir, "test", view)?])
}

/// What is seen of a picture, and its labels.
fn seen(samples: &MaskedPictures, index: usize, chance: Chance) -> Result<(Vec<u8>, Vec<u32>), Box<dyn Error>> {
    let [height, width, channels] = samples.image();
    let (mut pixels, mut labels) = (vec![7; height * width * channels], vec![7; height * width]);
    samples.sample(index, chance, &mut pixels, &mut labels)?;
    Ok((pixels, labels))
}

/// How many pixels have a label, and the share of those whose color is their class's: beside an edge it lies between two.
fn agreeing(pixels: &[u8], labels: &[u32]) -> (usize, f64) {
    let labeled: Vec<_> = pixels.chunks(3).zip(labels).filter(|(_, label)| **label != 255).collect();
    let near = |(pixel, label): &&(&[u8], &u32)| {
        pixel.iter().zip(COLORS[**label as usize]).all(|(&seen, color)| seen.abs_diff(color) < 60)
    };
    (labeled.len(), labeled.iter().filter(near).count() as f64 / labeled.len().max(1) as f64)
}

#[test]
fn tried_on_a_picture_is_seen_whole_in_the_middle() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [4, 3])?;
    let [train, test] = both(dir.path(), VIEW)?;
    assert_eq!((train.count(), test.count(), test.classes(), test.image()), (4, 3, 3, [32, 48, 3]));
    for at in 0..3 {
        let (pixels, labels) = seen(&test, at, None)?;
        let [height, width] = size(at);
        let factor = (32.0 / height as f64).min(48.0 / width as f64);
        let [rows, columns] = [height, width].map(|side| (side as f64 * factor).round() as usize);
        let (labeled, right) = agreeing(&pixels, &labels);
        assert_eq!(labeled, rows * columns, "picture {at}");
        assert!(right > 0.9, "picture {at}: {right}");
        let (top, left) = ((32 - rows) / 2, (48 - columns) / 2);
        assert_eq!(labels[top * 48 + left], 1, "picture {at}: the red bar begins there");
        let beside = pixels.chunks(3).zip(&labels).filter(|(_, label)| **label == 255);
        assert!(beside.into_iter().all(|(pixel, _)| pixel == [114; 3]), "picture {at}");
    }
    Ok(())
}

#[test]
fn labels_go_where_pixels_go() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [6, 1])?;
    let [train, _] = both(dir.path(), VIEW)?;
    let (mut mirrored, mut partly, mut whole) = (0, 0, 0);
    for draw in 0..200u64 {
        let chance = || Some((SplitMix64::of(&[5, draw]), FLIP));
        let (pixels, labels) = seen(&train, (draw % 6) as usize, chance())?;
        assert_eq!(seen(&train, (draw % 6) as usize, chance())?, (pixels.clone(), labels.clone()), "the same again");
        let (labeled, right) = agreeing(&pixels, &labels);
        assert!(right > 0.85 && labeled > 0, "draw {draw}: {right} of {labeled}");
        *(if labeled < labels.len() { &mut partly } else { &mut whole }) += 1;
        // The first and the last red pixel of the first row that has both red and ground.
        let row = labels.chunks(48).find(|row| row.contains(&1) && row.contains(&0));
        mirrored +=
            usize::from(row.is_some_and(|row| {
                row.iter().position(|&label| label == 1) > row.iter().position(|&label| label == 0)
            }));
    }
    assert!((50..130).contains(&mirrored), "{mirrored} of 200 are mirrored");
    assert!(partly > 40 && whole > 40, "{partly} smaller than the view, {whole} larger");
    Ok(())
}

#[test]
fn batches_are_the_same_on_any_number_of_cores() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [7, 1])?;
    let [train, _] = both(dir.path(), VIEW)?;
    let made = || -> Result<(Vec<f32>, Vec<u32>), Box<dyn Error + Send + Sync>> {
        let batches = Batches::new(&train, train.normalization()?, 3, 9, FLIP)?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        batches.epoch(2).batch(1, &mut pixels, &mut labels)?;
        Ok((pixels, labels))
    };
    let on = |cores| rayon::ThreadPoolBuilder::new().num_threads(cores).build();
    let alone = on(1)?.install(made).map_err(|error| error.to_string())?;
    assert_eq!(on(4)?.install(made).map_err(|error| error.to_string())?, alone);
    assert_eq!((alone.0.len(), alone.1.len()), (3 * 32 * 48 * 3, 3 * 32 * 48));
    Ok(())
}

#[test]
fn other_files_or_another_view_are_another_digest() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [3, 1])?;
    let digest = |view| Ok::<_, Box<dyn Error>>(both(dir.path(), view)?[0].digest());
    let first = digest(VIEW)?;
    assert_eq!(digest(VIEW)?, first);
    assert_ne!(digest(View { scale: [0.5, 1.5], ..VIEW })?, first);
    draw(dir.path(), [4, 1])?;
    assert_ne!(digest(VIEW)?, first);
    Ok(())
}

/// Ten rows and columns become one: a label is that of the middle of what a pixel shows, also where pictures shrink.
#[test]
fn labels_are_those_of_the_middle() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [1, 1])?;
    let [images, masks] = ["test/images", "test/masks"].map(|part| dir.path().join(part).join("000.png"));
    // Black before column 53 and white from there on, in pictures of 320 x 480 seen at 32 x 48: the middle of column 5 is white.
    let side = |column: u32| u8::from(column >= 53);
    image::RgbImage::from_fn(480, 320, |x, _| image::Rgb([255 * side(x); 3])).save(images)?;
    image::GrayImage::from_fn(480, 320, |x, _| image::Luma([side(x)])).save(masks)?;
    let [_, test] = both(dir.path(), VIEW)?;
    let (pixels, labels) = seen(&test, 0, None)?;
    for (pixel, label) in pixels.chunks(3).zip(&labels) {
        assert_eq!(u32::from(pixel[0] > 127), *label, "{pixel:?}");
    }
    assert_eq!(labels[..8], [0, 0, 0, 0, 0, 1, 1, 1]);
    Ok(())
}

/// Images of another crate, which say what they like.
struct Foreign {
    image: [usize; 3],
    label: u32,
}

impl Samples for Foreign {
    fn count(&self) -> usize {
        2
    }

    fn image(&self) -> [usize; 3] {
        self.image
    }

    fn target(&self) -> Target {
        Target::Images
    }

    fn classes(&self) -> usize {
        3
    }

    fn normalization(&self) -> Result<Normalization, DataError> {
        Ok(Normalization { mean: 0.5, std: 0.25 })
    }

    fn digest(&self) -> u64 {
        1
    }

    fn check(&self) -> Result<(), DataError> {
        Ok(())
    }

    fn sample(&self, _: usize, _: Chance, _: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
        labels.fill(self.label);
        Ok(())
    }
}

#[test]
fn images_of_others_are_not_trusted() -> Outcome {
    let batch = |foreign: Foreign| {
        let batches = Batches::new(&foreign, foreign.normalization()?, 2, 0, Augmentation::default())?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        batches.batch(&[0, 1], &mut pixels, &mut labels).map(|()| labels)
    };
    assert_eq!(batch(Foreign { image: [2, 2, 1], label: 2 })?, [2, 2]);
    for (foreign, words) in [
        (Foreign { image: [2, 0, 1], label: 2 }, "2 x 0 x 1"),
        (Foreign { image: [usize::MAX, 2, 1], label: 2 }, "a number of numbers"),
        (Foreign { image: [2, 2, 1], label: 3 }, "label 0 is 3, expected 0 to 2"),
        (Foreign { image: [2, 2, 1], label: 300 }, "label 0 is 300, expected 0 to 2"),
    ] {
        let said = batch(foreign).expect_err("it was believed").to_string();
        assert!(said.contains(words), "`{said}` does not say `{words}`");
    }
    Ok(())
}

/// What is said when a folder is opened, or its first picture is read.
fn said(dir: &Path, view: View) -> Result<String, Box<dyn Error>> {
    match both(dir, view) {
        Err(error) => Ok(error.to_string()),
        Ok([train, _]) => match seen(&train, 1, None) {
            Err(error) => Ok(error.to_string()),
            Ok(_) => Err("nothing was refused".into()),
        },
    }
}

#[test]
fn what_is_wrong_with_a_folder_is_said_by_name() -> Outcome {
    type Harm = fn(&Path) -> std::io::Result<()>;
    let harms: [(&str, Harm); 10] = [
        ("classes.txt", |dir| fs::remove_file(dir.join("classes.txt"))),
        ("names 0 classes", |dir| fs::write(dir.join("classes.txt"), "\n \n")),
        ("line 2 is blank: which class has number 1?", |dir| fs::write(dir.join("classes.txt"), "ground\n\nred bar\n")),
        ("001.png: it has no mask", |dir| fs::remove_file(dir.join("train/masks/001.png"))),
        ("002.png: it has no picture", |dir| fs::remove_file(dir.join("train/images/002.png"))),
        ("notes.txt: here are files ending in png, jpg, jpeg", |dir| fs::write(dir.join("train/images/notes.txt"), "")),
        ("masks/001.png: it is 72 x 48 pixels, and its picture 40 x 64", |dir| {
            fs::copy(dir.join("train/images/000.png"), dir.join("train/images/001.png")).map(|_| ())
        }),
        ("masks/001.png: label", |dir| {
            fs::write(dir.join("classes.txt"), "ground\nred bar\n")?;
            Ok(())
        }),
        ("images/001.png is no picture", |dir| fs::write(dir.join("train/images/001.png"), b"\x89PNG nothing")),
        ("masks/001.png is no mask", |dir| {
            fs::copy(dir.join("train/images/001.png"), dir.join("train/masks/001.png")).map(|_| ())
        }),
    ];
    for (words, harm) in harms {
        let dir = tempfile::tempdir()?;
        draw(dir.path(), [3, 1])?;
        harm(dir.path())?;
        let said = said(dir.path(), VIEW)?;
        assert!(said.contains(words), "`{said}` does not say `{words}`");
    }
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [3, 1])?;
    fs::write(dir.path().join("train/images/.hidden"), "")?;
    assert!(both(dir.path(), VIEW).is_ok(), "hidden files do not count");
    // Seen at ten times a view of 2^24 pixels, a picture would be too large.
    let vast = View { size: [4096, 4096], scale: [10.0; 2] };
    let [train, _] = both(dir.path(), vast)?;
    let (mut pixels, mut labels) = (vec![0; 3 << 24], vec![0; 1 << 24]);
    let chance = Some((SplitMix64::of(&[1]), FLIP));
    let refused = train.sample(0, chance, &mut pixels, &mut labels).expect_err("of 40,960 rows").to_string();
    assert!(refused.contains("000.png: it would become 40960 x") && refused.contains("--scale"), "{refused}");
    for view in [
        View { size: [0, 3], ..VIEW },
        View { size: [usize::MAX, 3], ..VIEW },
        View { scale: [2.0, 1.0], ..VIEW },
        View { scale: [0.01, 1.0], ..VIEW },
        View { scale: [f64::NAN, 1.0], ..VIEW },
    ] {
        assert!(said(dir.path(), view)?.contains("what is seen of a picture"), "{view:?}");
    }
    assert!(said(Path::new("/nowhere"), VIEW)?.contains("/nowhere/classes.txt"));
    Ok(())
}
