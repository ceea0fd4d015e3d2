//! Runs whose numbers are none any more: what is said of where it began, and that the last checkpoint is a good one.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::models::parameters::PARAMETERS;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::{Schedule, Settings, Then, Trainer};

use super::damaged::Damaged;
use super::{Bench, Outcome, Test, noise, refused, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 5] = [
    ("a rate that is too high: the op is named", rates),
    ("weights that are none are not saved, and where they began is named", weights),
    ("images that are none are named", images),
    ("weights from outside are told from a run that diverges", outside),
    ("looking for where it began can be interrupted", interrupted),
];

/// A rate of 0.01 for four steps, and `factor` times that from the fifth on.
fn jumps(factor: f64, checkpoint: Option<(&Path, u64)>) -> Settings {
    let then = Then::Decay { factor, every: 4 };
    Settings {
        schedule: Schedule::WarmUp { from: 0.01, steps: 0, peak: 0.01, then },
        checkpoint: checkpoint.map(|(path, every)| (path.to_owned(), every)),
        ..settings(12)
    }
}

fn said(trainer: &mut Trainer) -> Result<String, Failed> {
    let ended = trainer.train(&noise(24), &AtomicBool::new(false), |_| {});
    ended.err().map(|error| error.to_string()).ok_or_else(|| Failed::from("it went well"))
}

/// Weights of 10^28 are finite, and what is computed with them is not.
fn rates(bench: &Bench) -> Outcome {
    let mut straight = trainer(bench, jumps(1e30, None))?;
    let said = said(&mut straight)?;
    for words in
        ["in step 6 the loss is NaN", "the first bad value is in step 6: ", " wrote ", "of f32 [", "--rate", "--clip"]
    {
        require(said.contains(words), format!("`{said}` does not say `{words}`"))?;
    }
    require(said.contains("nothing of the run was saved"), &said[..])?;
    require(!said.contains("bad before"), format!("weights and images are finite: {said}"))?;
    // The run stands before the step that it names.
    let mut five = trainer(bench, Settings { steps: 5, ..jumps(1e30, None) })?;
    train(&mut five)?;
    require(straight.about().step == 5, format!("it stands after {} steps", straight.about().step))?;
    require(straight.homes().snapshot()? == five.homes().snapshot()?, "it stands elsewhere")
}

/// Weights that are not finite are never saved, and the step that made them is found, also where the loss was seen later.
fn weights(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    for (every, seen) in
        [(1, "in step 5 parameters `"), (4, "in step 6 the loss is NaN"), (2, "in step 6 the loss is NaN")]
    {
        let _ = std::fs::remove_file(&file);
        let mut trainer = trainer(bench, jumps(1e60, Some((&file, every))))?;
        let said = said(&mut trainer)?;
        for words in [seen, "the first bad value is in step 5: sgd/update", "holds the run after 4 steps"] {
            require(said.contains(words), format!("saved every {every}: `{said}` does not say `{words}`"))?;
        }
        require(Checkpoint::open(&file)?.about().step == 4, "a file of bad weights")?;
        require(trainer.about().step == 4, format!("it stands after {} steps", trainer.about().step))?;
    }
    // What was saved is gone on with, to the same end.
    let mut rest = trainer(bench, jumps(1e60, Some((&file, 4))))?;
    rest.resume(&file)?;
    require(said(&mut rest)?.contains("the first bad value is in step 5: sgd/update"), "not found again")
}

/// Where max(NaN, 0) is 0 the loss stays finite; running averages do not.
fn images(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let (poisoned, settings) = (Damaged::poisoned(), Settings { checkpoint: Some((file.clone(), 1)), ..settings(3) });
    let mut trainer = Trainer::new(&bench.device, &bench.pipelines, &tiny(), &poisoned, settings)?;
    let ended = trainer.train(&poisoned, &AtomicBool::new(false), |_| {});
    require(!file.exists(), "what poisoned images left was saved")?;
    refused(ended, &["the first bad value is in step 1: ", " at stem/", "bad before: input `images`"])
}

/// What nothing that is computed explains.
fn outside(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, settings(3))?;
    let bias = trainer.homes().read_f32(PARAMETERS, "head/bias")?;
    trainer.homes().write_f32(PARAMETERS, "head/bias", &vec![f32::NAN; bias.len()])?;
    let said = said(&mut trainer)?;
    require(said.contains("in step 1 the loss is NaN; computed again, everything is finite"), said)
}

/// Whoever does not want to wait for where it began need not.
fn interrupted(bench: &Bench) -> Outcome {
    let (mut trainer, stop) = (trainer(bench, jumps(1e60, None))?, AtomicBool::new(false));
    let ended =
        trainer.train(&noise(24), &stop, |report| stop.store(report.step == 5, std::sync::atomic::Ordering::Relaxed));
    refused(ended, &["in step 6 the loss is NaN", "where it began was not found out", "stopped"])
}
