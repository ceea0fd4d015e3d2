//! Pictures with a class each: what a network is shown of them, what is refused, and what stands in for what cannot be read.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use vistok::picture::Picture;
use vistok::train::batches::{Augmentation, Batches, Normalization, SplitMix64};
use vistok::train::data::{DataError, Source, Target};
use vistok::train::{Chance, Samples, Skipping, Split, UNREAD, View};

use crate::classes::{CLASSES, draw, file, size};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

pub(crate) const VIEW: View = View { size: [14, 14], scale: [0.08, 1.0] };
pub(crate) const FLIP: Augmentation = Augmentation { flip: true, shift: 0, policy: None };

fn open(dir: &Path, view: View) -> Result<Split, DataError> {
    Split::open(&Source::Folder(dir.into()), Target::Images, view)
}

/// What is seen of a picture, and its label.
pub(crate) fn seen(samples: &dyn Samples, index: usize, chance: Chance) -> Result<(Vec<u8>, u32), DataError> {
    let (mut pixels, mut labels) = (vec![7; samples.image().iter().product()], [7]);
    samples.sample(index, chance, &mut pixels, &mut labels)?;
    Ok((pixels, labels[0]))
}

/// Pixels and labels of a batch of training.
pub(crate) fn batch(samples: &dyn Samples, epoch: u64, at: usize) -> Result<(Vec<f32>, Vec<u32>), DataError> {
    let batches = Batches::new(samples, Normalization { mean: 0.5, std: 0.25 }, 4, 9, FLIP)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    batches.epoch(epoch).batch(at, &mut pixels, &mut labels)?;
    Ok((pixels, labels))
}

#[test]
fn classes_are_folders_and_the_middle_is_tried_on() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [4, 2])?;
    let Split { train, test, .. } = open(dir.path(), VIEW)?;
    assert_eq!((train.count(), test.count(), train.classes(), test.image()), (12, 6, 3, [14, 14, 3]));
    for index in 0..6 {
        let (class, at) = (index / 2, index % 2);
        let (pixels, label) = seen(&*test, index, None)?;
        assert_eq!(label as usize, class);
        // The shorter side becomes 16, and of that 14 are seen: 7/8 of it, in the middle.
        let picture = Picture::open(&file(dir.path(), "test", class, at))?;
        let [height, width] = size(at);
        let across = 16.0 / height.min(width) as f64;
        let middle = |row: usize, column: usize| &pixels[(row * 14 + column) * 3..][..3];
        for (row, column) in [(0, 0), (6, 6), (13, 13), (3, 11)] {
            let from = |side: usize, place: usize| {
                (((side as f64 * across).floor() - 14.0) / 2.0 + place as f64 + 0.5) / across
            };
            let there = [from(height, row) as usize, from(width, column) as usize];
            let own = &picture.pixels[(there[0] * width + there[1]) * 3..][..3];
            assert!(own.iter().zip(middle(row, column)).all(|(a, b)| a.abs_diff(*b) < 8), "{index}: {row}, {column}");
        }
    }
    fs::rename(dir.path().join("test"), dir.path().join("val"))?;
    assert_eq!(open(dir.path(), VIEW)?.test.count(), 6);
    // Without what it learned from, a network is tried on what is there.
    fs::remove_dir_all(dir.path().join("train"))?;
    let (test, _) = Split::open_test(&Source::Folder(dir.path().into()), Target::Images, VIEW)?;
    assert_eq!((test.count(), test.classes()), (6, 3));
    Ok(())
}

#[test]
fn parts_follow_from_the_chance_and_half_are_mirrored() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [4, 1])?;
    let train = open(dir.path(), VIEW)?.train;
    let mut mirrored = 0;
    for draw in 0..200u64 {
        let chance = |augmentation| Some((SplitMix64::of(&[5, draw]), augmentation));
        let (pixels, label) = seen(&*train, 5, chance(FLIP))?;
        assert_eq!((seen(&*train, 5, chance(FLIP))?.0 == pixels, label), (true, 1), "the same again");
        let (plain, _) = seen(&*train, 5, chance(Augmentation::default()))?;
        let rows = plain.chunks(14 * 3).flat_map(|row| row.chunks(3).rev().flatten());
        assert!(pixels == plain || rows.eq(&pixels), "draw {draw} is neither");
        mirrored += usize::from(pixels != plain);
    }
    assert!((70..130).contains(&mirrored), "{mirrored} of 200 are mirrored");
    // All of a square, and nothing else: what is tried on, without its border.
    let whole = open(dir.path(), View { scale: [1.0; 2], ..VIEW })?.train;
    let parts: Vec<_> = (0..30).map(|draw| seen(&*whole, 2, Some((SplitMix64::of(&[draw]), FLIP)))).collect();
    assert!(parts.iter().all(|part| part.as_ref().is_ok_and(|(pixels, label)| *label == 0 && pixels[2] >= 200)));
    Ok(())
}

#[test]
fn batches_are_the_same_on_any_number_of_cores_and_for_the_same_seed_alone() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [4, 1])?;
    let train = open(dir.path(), VIEW)?.train;
    let on = |cores| rayon::ThreadPoolBuilder::new().num_threads(cores).build();
    let alone = on(1)?.install(|| batch(&*train, 2, 1))?;
    assert!(on(4)?.install(|| batch(&*train, 2, 1))? == alone);
    assert!(batch(&*open(dir.path(), VIEW)?.train, 2, 1)? == alone, "opened again, as a run that is resumed does");
    assert!(batch(&*train, 3, 1)?.0 != alone.0 && batch(&*train, 2, 0)?.0 != alone.0);
    let digest = |view| open(dir.path(), view).map(|split| split.train.digest());
    assert_eq!(digest(VIEW)?, train.digest());
    assert_ne!(digest(View { scale: [0.5, 1.0], ..VIEW })?, train.digest());
    fs::rename(file(dir.path(), "train", 1, 1), file(dir.path(), "train", 1, 9))?;
    assert_ne!(digest(VIEW)?, train.digest());
    Ok(())
}

type Harm = fn(&Path) -> std::io::Result<()>;

#[test]
fn what_is_wrong_with_a_folder_is_said_by_name() -> Outcome {
    let harms: [(&str, Harm); 8] = [
        ("train/green: there are no pictures (a folder for classification", |dir| {
            fs::remove_dir_all(dir.join("train/green"))?;
            fs::create_dir(dir.join("train/green"))
        }),
        ("test/yellow: there is no such class in train", |dir| {
            fs::rename(dir.join("test/red"), dir.join("test/yellow"))
        }),
        ("notes.txt: here are files ending in png, jpg, jpeg", |dir| fs::write(dir.join("train/red/notes.txt"), "")),
        ("train/notes.txt: here are folders, one a class", |dir| fs::write(dir.join("train/notes.txt"), "")),
        ("train: there are no classes", |dir| {
            fs::remove_dir_all(dir.join("train"))?;
            fs::create_dir(dir.join("train"))
        }),
        ("test: No such file", |dir| fs::remove_dir_all(dir.join("test"))),
        ("test: there are no pictures", |dir| {
            fs::remove_dir_all(dir.join("test"))?;
            fs::create_dir_all(dir.join("test/red"))
        }),
        ("train: it has images and masks: is it a folder for segmentation? Then give --task segment", |dir| {
            crate::folder::draw(dir, [1, 1]).map_err(|error| std::io::Error::other(error.to_string()))
        }),
    ];
    for (words, harm) in harms {
        let dir = tempfile::tempdir()?;
        draw(dir.path(), [2, 1])?;
        harm(dir.path())?;
        let said = open(dir.path(), VIEW).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(words), "`{said}` does not say `{words}`");
    }
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [2, 1])?;
    fs::write(dir.path().join("train/.hidden"), "")?;
    fs::write(dir.path().join("train/red/.hidden"), "")?;
    assert!(open(dir.path(), VIEW).is_ok(), "hidden files do not count");
    let other = Split::open(&Source::Folder(dir.path().into()), Target::Pixels, View { scale: [1.0; 2], ..VIEW });
    let said = other.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("--task classify") && said.contains("train/masks"), "{said}");
    for scale in [[0.0, 1.0], [0.5, 1.1], [0.9, 0.8], [f64::NAN, 1.0]] {
        let said = open(dir.path(), View { scale, ..VIEW }).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("what is seen of a picture"), "{scale:?}: {said}");
    }
    Ok(())
}

/// Everything that a picture file may be beside a picture.
fn harms() -> [(&'static str, Harm); 5] {
    const AT: &str = "train/green/001.png";
    [
        ("is no picture", |dir| fs::write(dir.join(AT), b"")),
        ("is no picture", |dir| fs::write(dir.join(AT), b"\xff\xd8\xff\xe0 a photograph")),
        ("is no picture", |dir| fs::write(dir.join(AT), "once upon a time")),
        ("is no picture", |dir| {
            let bytes = fs::read(dir.join(AT))?;
            fs::write(dir.join(AT), &bytes[..bytes.len() / 2])
        }),
        ("too long for its width", |dir| {
            let line = image::RgbImage::new(1, 80);
            line.save(dir.join(AT)).map_err(std::io::Error::other)
        }),
    ]
}

/// The images with corrupt ones skipped, and what is told of them.
pub(crate) fn skipping(samples: Box<dyn Samples>) -> (Skipping, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = told.clone();
    (Skipping::new(samples, move |line| to.lock().expect("nobody panics").push(line.to_owned())), told)
}

#[test]
fn a_corrupt_picture_is_refused_by_name_or_the_next_stands_in() -> Outcome {
    for (words, harm) in harms() {
        let dir = tempfile::tempdir()?;
        draw(dir.path(), [3, 1])?;
        harm(dir.path())?;
        let train = || open(dir.path(), VIEW).map(|split| split.train);
        let chance = || Some((SplitMix64::of(&[3]), FLIP));
        let refused = seen(&*train()?, 4, chance()).expect_err("it was read");
        let said = refused.to_string();
        assert!(refused.is_corrupt() && said.contains(words) && said.contains("green/001.png"), "{said}");
        let (skips, told) = skipping(train()?);
        assert!(seen(&skips, 4, chance())? == seen(&*train()?, 5, chance())?, "another stands in than the next");
        assert!(seen(&skips, 3, chance())? == seen(&*train()?, 3, chance())?);
        // Every epoch is whole, and the same for a run that begins within it.
        let all: Vec<_> = (0..2).map(|at| batch(&skips, 1, at)).collect::<Result<_, _>>()?;
        let (again, _) = skipping(train()?);
        assert!(all[1] == batch(&again, 1, 1)? && all.iter().all(|(_, labels)| labels.len() == 4));
        assert_eq!((skips.skipped(), told.lock().map_err(|_| "panic")?.len()), (1, 1), "{told:?}");
        assert!(told.lock().map_err(|_| "panic")?[0].contains("green/001.png"), "{told:?}");
        // Tried on, it does not count.
        assert_eq!(seen(&skips, 4, None)?, (vec![0; 14 * 14 * 3], UNREAD));
        let normalization = skips.normalization()?;
        assert!(normalization == skipping(train()?).0.normalization()? && train()?.normalization().is_err());
        assert!(seen(&skips, 9, chance()).is_err() && seen(&skips, 9, None).is_err(), "there are 9");
    }
    Ok(())
}

#[test]
fn what_the_disk_refuses_is_not_skipped_and_none_at_all_is_an_error() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [1, 1])?;
    let (skips, told) = skipping(open(dir.path(), VIEW)?.train);
    let chance = || Some((SplitMix64::of(&[3]), FLIP));
    fs::remove_file(file(dir.path(), "train", 1, 0))?;
    let said = seen(&skips, 1, chance()).expect_err("it is not there").to_string();
    assert!(said.contains("green/000.png") && told.lock().map_err(|_| "panic")?.is_empty(), "{said}");
    for class in 0..3 {
        fs::write(file(dir.path(), "train", class, 0), b"")?;
    }
    let said = seen(&skips, 1, chance()).expect_err("there is none").to_string();
    assert!(said.contains("none of the 3 images can be read") && said.contains(CLASSES[0]), "{said}");
    let (tried, _) = skipping(open(dir.path(), VIEW)?.train);
    let all: Vec<bool> = (0..3).map(|index| seen(&tried, index, None).is_ok()).collect();
    assert_eq!(all, [true, true, false], "nothing is left that could be tried");
    Ok(())
}

/// A mask that is no mask is like a picture that is none, and its pixels do not count.
#[test]
fn masks_are_skipped_with_their_pictures() -> Outcome {
    let dir = tempfile::tempdir()?;
    crate::folder::draw(dir.path(), [3, 1])?;
    let other = dir.path().join("train/masks/001.png");
    image::GrayImage::new(9, 9).save(&other)?;
    let view = View { size: [14, 14], scale: [1.0; 2] };
    let open = || Split::open(&Source::Folder(dir.path().into()), Target::Pixels, view).map(|split| split.train);
    let (skips, told) = skipping(open()?);
    let labels = |samples: &dyn Samples, index, chance| {
        let (mut pixels, mut labels) = (vec![7; 14 * 14 * 3], vec![7; 14 * 14]);
        samples.sample(index, chance, &mut pixels, &mut labels).map(|()| labels)
    };
    let chance = || Some((SplitMix64::of(&[3]), FLIP));
    assert_eq!(labels(&skips, 1, chance())?, labels(&*open()?, 2, chance())?);
    assert_eq!(labels(&skips, 1, None)?, vec![255; 14 * 14]);
    assert!(told.lock().map_err(|_| "panic")?[0].contains("masks/001.png: it is 9 x 9"), "{told:?}");
    Ok(())
}
