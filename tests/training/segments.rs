//! Networks that segment: scenes are learned, scores counted on the GPU are those of the logits, and a run goes on bitwise.

use std::sync::atomic::AtomicBool;

use safetensors::SafeTensors;
use vistok::kernel::Elem;
use vistok::models::Fpn;
use vistok::models::fpn::{Head, Pyramid, TokenPyramid};
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::train::batches::{Augmentation, Batches};
use vistok::train::data::{Images, Target};
use vistok::train::step::SCORES;
use vistok::train::{Score, Segmented, Settings, Trainer, scenes};

use super::{Bench, Outcome, require, settings};

/// A bar that lies and one that stands, twice each, in scenes of 24x20: sizes that halve to odd ones.
fn bars(count: usize) -> Images {
    let inside = |at: usize| {
        let (garment, row, column) = (at / 64, at % 64 / 8, at % 8);
        let (long, short) = if garment % 2 == 0 { (column, row) } else { (row, column) };
        (1..7).contains(&long) && (3..5).contains(&short)
    };
    let pixels = (0..4 * 64).map(|at| if inside(at) { 220 } else { 0 }).collect();
    let (labels, target) = (vec![0, 1, 0, 1], Target::Images);
    let garments = Images { height: 8, width: 8, channels: 1, pixels, labels, target, classes: 2 };
    scenes::draw(&garments, [24, 20], count, 3).expect("garments fit")
}

/// Two levels, at strides 2 and 4.
fn networks() -> [Fpn; 2] {
    let stage = |channels, stride| Stage { channels, blocks: 1, stride };
    let fpn = Fpn {
        name: "tiny-fpn".to_owned(),
        trunk: Trunk::new(
            Stem::Small { kernel: 3, channels: 8, stride: 2, pool: false },
            Block::Basic,
            vec![stage(12, 1), stage(16, 2)],
        ),
        pyramid: Pyramid::Convolutions,
        channels: 16,
        head: Head { channels: 16, groups: 4 },
        classes: 3,
    };
    let tokens = TokenPyramid::counted(vec![4, 3], 16, 16, 4);
    [Fpn { name: "tiny-vt-fpn".to_owned(), pyramid: Pyramid::Tokens(Box::new(tokens)), ..fpn.clone() }, fpn]
}

fn run(bench: &Bench, network: &Fpn, settings: Settings) -> Result<(Trainer, Vec<f32>), libtest_mimic::Failed> {
    let images = bars(16);
    let mut trainer = Trainer::new(&bench.device, &bench.pipelines, network, &images, settings)?;
    let mut losses = Vec::new();
    trainer.train(&images, &AtomicBool::new(false), |report| losses.push(report.loss))?;
    Ok((trainer, losses))
}

pub(crate) fn learns(bench: &Bench) -> Outcome {
    for network in networks() {
        learns_in(bench, &network, Elem::F32)?;
    }
    Ok(())
}

pub(crate) fn learns_mixed(bench: &Bench) -> Outcome {
    networks().iter().try_for_each(|network| learns_in(bench, network, Elem::F16))
}

fn learns_in(bench: &Bench, network: &Fpn, elem: Elem) -> Outcome {
    let settings =
        Settings { elem, augmentation: Augmentation { flip: true, ..Augmentation::default() }, ..settings(80) };
    let (trainer, losses) = run(bench, network, settings)?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    require(first > 0.7 && last < first / 3.0, format!("{}: the loss fell from {first} to {last}", network.name))?;
    let unseen = bars(40);
    let Score::Pixels(found) = trainer.score(&unseen)? else { return Err("a score of pixels".into()) };
    let least = found.constant(0).mean_iou;
    require(
        found.mean_iou > least + 0.3 && found.iou.len() == 3,
        format!("{}: {found:?}, and {least} where all is ground", network.name),
    )
}

/// Against logits that are read back, whatever the batch, with pixels that have no label; and the second time as the first.
pub(crate) fn scores(bench: &Bench) -> Outcome {
    let [network, _] = networks();
    let (trainer, _) = run(bench, &network, settings(20))?;
    let mut images = bars(13);
    images.labels.iter_mut().step_by(7).for_each(|label| *label = 255);
    let found = trainer.score(&images)?;
    require(trainer.score(&images)? == found, "a second time it is another score")?;
    let batches = Batches::new(&images, trainer.about().normalization, 8, 0, Augmentation::default())?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let mut counts = [[0u64; 3]; 3];
    let executor = trainer.evaluator().executor();
    for at in 0..batches.evaluation_count() {
        batches.evaluation_batch(at, &mut pixels, &mut labels)?;
        executor.write_f32("images", &pixels)?;
        executor.write_u32("labels", &labels)?;
        executor.run()?;
        for (logits, &label) in executor.read_named("logits")?.chunks_exact(3).zip(&labels) {
            let best = (0..3).rev().max_by(|&one, &other| logits[one].total_cmp(&logits[other])).unwrap_or(0);
            if label != 255 {
                counts[label as usize][best] += 1;
            }
        }
    }
    let iou = |class: usize| {
        let labeled: u64 = counts[class].iter().sum();
        let predicted: u64 = counts.iter().map(|row| row[class]).sum();
        counts[class][class] as f64 / (labeled + predicted - counts[class][class]) as f64
    };
    let all: u64 = counts.iter().flatten().sum();
    let expected = Segmented {
        mean_iou: (0..3).map(iou).sum::<f64>() / 3.0,
        right: (0..3).map(|class| counts[class][class]).sum::<u64>() as f64 / all as f64,
        iou: (0..3).map(|class| Some(iou(class))).collect(),
        labeled: counts.iter().map(|row| row.iter().sum()).collect(),
    };
    require(found == Score::Pixels(expected.clone()), format!("{found:?}, and by the logits {expected:?}"))
}

pub(crate) fn resumes(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("half.safetensors");
    let [network, _] = networks();
    let (straight, losses) = run(bench, &network, settings(8))?;
    let (half, _) = run(bench, &network, settings(4))?;
    half.score(&bars(9))?;
    half.save(&file)?;
    // What was counted on the way is no part of the run.
    let bytes = std::fs::read(&file)?;
    let kept = SafeTensors::deserialize(&bytes)?;
    require(
        !kept.names().iter().any(|name| name.starts_with(SCORES)),
        "scores are kept as if they were a run's state",
    )?;
    let images = bars(16);
    let mut rest = Trainer::new(&bench.device, &bench.pipelines, &network, &images, settings(8))?;
    rest.resume(&file)?;
    let mut later = Vec::new();
    rest.train(&images, &AtomicBool::new(false), |report| later.push(report.loss))?;
    require(later[..] == losses[4..], format!("{later:?} and {losses:?}"))?;
    require(rest.score(&bars(9))? == straight.score(&bars(9))?, "other weights")
}

pub(crate) fn refuses(bench: &Bench) -> Outcome {
    let [network, _] = networks();
    let of_images = Images { labels: vec![0; 16], target: Target::Images, ..bars(16) };
    let refused = Trainer::new(&bench.device, &bench.pipelines, &network, &of_images, settings(1));
    let line = refused.err().map(|error| error.to_string()).unwrap_or_default();
    require(line == "what has a label: each image, and the model is for each pixel", line)
}
