//! What a teacher has said of the images, in a file: learned as what it says, row by row; and files that are of something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use vistok::kernel::Elem;
use vistok::train::batches::Augmentation;
use vistok::train::weights::WeightsError;
use vistok::train::{LogitsFile, Samples, Settings, Skipping, Teacher, Trainer};

use super::damaged::Damaged;
use super::resumed::resumed;
use super::taught::of;
use super::{Bench, Outcome, Test, noise, refused, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 5] = [
    ("what a teacher has said is learned as what it says", learns),
    ("runs with what a teacher has said resume, bitwise", resumes),
    ("mixed precision: runs with what a teacher has said resume, bitwise", resumes_mixed),
    ("what a teacher has said of something else is refused", refuses),
    ("an image that stands in for another has no row", stands_in),
];

const CLASSES: usize = 4;

/// Rows of which no two are alike, so that one in another's place shows.
fn rows(images: usize) -> Vec<f32> {
    (0..images * CLASSES).map(|at| 3.0 * (at as f32 * 0.7).sin()).collect()
}

/// Somebody who has said this of the images.
fn said(folder: &Path, rows: &[f32], images: &dyn Samples) -> Result<Arc<Teacher>, Failed> {
    Ok(Arc::new(Teacher::open(&written(folder, rows, images)?)?))
}

/// In two pieces.
fn written(folder: &Path, rows: &[f32], images: &dyn Samples) -> Result<PathBuf, WeightsError> {
    let path = folder.join("said.safetensors");
    let mut file = LogitsFile::begin(&path, images, rows.len() / images.count())?;
    let (first, others) = rows.split_at(rows.len() / images.count());
    file.write(first)?;
    file.write(others)?;
    file.finish(images)?;
    Ok(path)
}

/// A student sees its images as they are, each step's in the order of the seed, and learns of a teacher alone.
fn plain(teacher: &Arc<Teacher>, steps: u64) -> Settings {
    Settings { augmentation: Augmentation::default(), ..of(teacher, [1.0, 2.0], steps) }
}

/// Asked in every step or once, a network says the same.
fn learns(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("teacher.safetensors");
    let mut known = trainer(bench, Settings { augmentation: Augmentation::default(), seed: 77, ..settings(40) })?;
    train(&mut known)?;
    known.save(&file)?;
    let normalization = known.about().normalization;
    let mut logits = Vec::new();
    known.evaluator().logits(&noise(24), normalization, |rows| {
        logits.extend_from_slice(rows);
        Ok(())
    })?;
    let losses = |teacher: Arc<Teacher>, accumulate: u32| {
        let cut = Settings { batch: 8 / accumulate as usize, accumulate, ..plain(&teacher, 9) };
        let reports = train(&mut trainer(bench, cut)?)?;
        Ok::<_, Failed>(reports.iter().map(|report| report.loss).collect::<Vec<f32>>())
    };
    for accumulate in [1, 2] {
        let asked = losses(Arc::new(Teacher::open(&file)?), accumulate)?;
        let once = losses(said(folder.path(), &logits, &noise(24))?, accumulate)?;
        let near = asked.iter().zip(&once).all(|(asked, once)| (asked - once).abs() < 1e-4 * asked);
        require(
            near,
            format!("{accumulate} micro-batches: losses {asked:?} by what it says, {once:?} by what it said"),
        )?;
        let mut mixed_up = logits.clone();
        mixed_up.rotate_left(CLASSES);
        let other = losses(said(folder.path(), &mixed_up, &noise(24))?, accumulate)?;
        require((other[0] - asked[0]).abs() > 1e-3 * asked[0], "the rows of other images are as good")?;
    }
    Ok(())
}

fn resumes(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F32)
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F16)
}

fn resumes_in(bench: &Bench, elem: Elem) -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut numbers = rows(24);
    let teacher = said(folder.path(), &numbers, &noise(24))?;
    let run = resumed(bench, &Settings { elem, ..of(&teacher, [0.8, 2.0], 9) }, 4)?;
    numbers[5] += 1.0;
    let other = said(folder.path(), &numbers, &noise(24))?;
    let mut rest = trainer(bench, Settings { elem, ..of(&other, [0.8, 2.0], 9) })?;
    refused(rest.resume(&run.file), &["recipe is", "teacher"])
}

fn refuses(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let made = |teacher: Arc<Teacher>| {
        Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), plain(&teacher, 3)).map(drop)
    };
    let few = said(folder.path(), &rows(23), &noise(23))?;
    refused(made(few), &["said.safetensors", "rows of 23 images", "a row for each of 24 (--teacher)"])?;
    let mut moved = noise(24);
    moved.pixels.rotate_left(1);
    let moved = said(folder.path(), &rows(24), &moved)?;
    refused(made(moved), &["said.safetensors", "rows of other images", "--data"])?;
    let of_two = said(folder.path(), &rows(12), &noise(24))?;
    refused(made(of_two), &["a file of logits", "2 classes of images", "4 classes of images"])?;
    // Images that it was not made ready for.
    let mut student = trainer(bench, plain(&said(folder.path(), &rows(24), &noise(24))?, 3))?;
    let more = student.train(&noise(30), &AtomicBool::new(false), |_| {});
    refused(more, &["rows of 24 images", "a row for each of 30"])?;
    let mut others = noise(24);
    others.pixels.rotate_left(64);
    refused(student.train(&others, &AtomicBool::new(false), |_| {}), &["rows of other images"])?;
    let large = said(folder.path(), &[vec![0.0; 23 * CLASSES], vec![7e4; CLASSES]].concat(), &noise(24))?;
    require(made(large.clone()).is_ok(), "f32 holds 70,000")?;
    let mixed = Settings { elem: Elem::F16, ..plain(&large, 3) };
    let mixed = Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), mixed).map(drop);
    if bench.device.capabilities().f16 {
        refused(mixed, &["says 70000, which f16 does not hold", "--f16"])?;
    }
    bad_files(&folder.path().join("said.safetensors"))?;
    // Of other programs, which note nothing.
    require(
        made(Arc::new(Teacher::open(&folder.path().join("said.safetensors"))?)).is_ok(),
        "other programs' logits are refused",
    )
}

/// The last is a good one.
fn bad_files(file: &Path) -> Outcome {
    let folder = file.parent().ok_or("no folder")?;

    let before = std::fs::read(file)?;
    let mut numbers = rows(24);
    numbers[4 * 17 + 2] = f32::NAN;
    refused(written(folder, &numbers, &noise(24)), &["`logits` holds NaN at [17, 2]", "one of 1 such"])?;
    refused(written(folder, &rows(24)[1..], &noise(24)), &["95 numbers of 24 images and 3 classes"])?;
    require(
        std::fs::read(file)? == before && std::fs::read_dir(folder)?.count() == 1,
        "a file that failed was left over",
    )?;
    let write = |kind, shape: &[usize], others: &[&str], noted: Option<(&str, &str)>| {
        let bytes = vec![0; shape.iter().product::<usize>() * if kind == Dtype::I64 { 8 } else { 2 }];
        let noted = noted.map(|(name, text)| [(name.to_owned(), text.to_owned())].into());
        let view = || TensorView::new(kind, shape.to_vec(), &bytes);
        let tensors = ["logits"].iter().chain(others).map(|name| Ok((*name, view()?)));
        let tensors = tensors.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        Ok::<_, Failed>(serialize_to_file(tensors, noted, file)?)
    };
    let shape = [24, CLASSES];
    for (kind, shape, others, noted, said) in [
        (Dtype::F16, &[24][..], &[][..], None, "`logits` is [24], and must be [images, classes]"),
        // As many as no loop would end over, and not a byte.
        (Dtype::F16, &[usize::MAX, 0], &[], None, ", 0], and must be [images, classes]"),
        (Dtype::I64, &shape, &[], None, "`logits` is I64, and must be F32, F16 or BF16"),
        (Dtype::F16, &shape, &["ids", "labels"], None, "it has ids, labels: leave them out"),
        (Dtype::F16, &shape, &[], Some(("vistok.images", "mine")), "what it notes as `vistok.images`"),
    ] {
        write(kind, shape, others, noted)?;
        refused(Teacher::open(file), &["said.safetensors is no teacher", said])?;
    }
    write(Dtype::BF16, &shape, &[], Some(("images", "of somebody else")))
}

fn stands_in(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let images = Skipping::new(Box::new(Damaged::unreadable(11)), |_| {});
    let teacher = said(folder.path(), &rows(24), &images)?;
    let mut seen = ([0; 64], [0]);
    images.sample(11, None, &mut seen.0, &mut seen.1)?;
    refused(written(folder.path(), &rows(24), &images), &["1 of the images cannot be read"])?;
    let images = Skipping::new(Box::new(Damaged::unreadable(11)), |_| {});
    let mut student = trainer(bench, plain(&teacher, 3))?;
    // All 24 images are in the first three steps.
    let trained = student.train(&images, &AtomicBool::new(false), |_| {});
    refused(trained, &["1 of the images unreadable", "Leave those out of the data", "vistok teach", "--teacher"])
}
