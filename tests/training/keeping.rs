//! Checkpoints: the last ones and the best, what is in them, and that a run that goes on knows them.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::{Settings, Trainer, best_file, older_file};

use super::{Bench, Outcome, Test, noise, refused, require, settings, train, trainer};

pub(crate) const TESTS: [(&str, Test); 3] = [
    ("the last checkpoints are kept", last),
    ("the best checkpoint is kept", best),
    ("checkpoints that cannot be kept end a run, and nothing is lost", refused_by_disk),
];

fn saving(file: &Path, steps: u64) -> Settings {
    Settings { checkpoint: Some((file.to_owned(), 2)), ..settings(steps) }
}

fn names(folder: &Path) -> Result<Vec<String>, Failed> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>, std::io::Error>>()?;
    names.sort();
    Ok(names)
}

/// A run that keeps three of its checkpoints, interrupted once.
fn last(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let keeping = |steps| {
        let mut trainer = trainer(bench, saving(&file, steps))?;
        trainer.keep_last(3);
        Ok::<_, Failed>(trainer)
    };
    train(&mut keeping(6)?)?;
    let expected = ["model-000002.safetensors", "model-000004.safetensors", "model.safetensors"];
    require(names(folder.path())? == expected, format!("after six steps: {:?}", names(folder.path())?))?;
    let bytes = fs::read(&file)?;
    let mut rest = keeping(9)?;
    rest.resume(&file)?;
    train(&mut rest)?;
    let expected = ["model-000006.safetensors", "model-000008.safetensors", "model.safetensors"];
    require(names(folder.path())? == expected, format!("after nine steps: {:?}", names(folder.path())?))?;
    require(fs::read(older_file(&file, 6))? == bytes, "the checkpoint of six steps is another now")?;
    for (path, step) in [(older_file(&file, 8), 8), (file.clone(), 9)] {
        require(Checkpoint::open(&path)?.about().step == step, format!("{} is of another step", path.display()))?;
    }
    // An older one is a checkpoint like any other, and what is not asked for is not kept.
    let other = folder.path().join("other.safetensors");
    let mut again = trainer(bench, saving(&other, 9))?;
    again.resume(&older_file(&file, 6))?;
    train(&mut again)?;
    require(names(folder.path())?.len() == 4, "one file a run")?;
    require(again.homes().snapshot()? == rest.homes().snapshot()?, "it went on to other weights")
}

/// Scores are given here: what is kept follows from them alone.
fn best(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let to = |trainer: &mut Trainer, step| trainer.train_to(&noise(24), &AtomicBool::new(false), step, |_| {});
    let mut first = trainer(bench, saving(&file, 6))?;
    for (step, score, kept) in [(1, f64::NAN, false), (2, 0.5, true), (3, 0.25, false), (4, 0.5, false)] {
        to(&mut first, step)?;
        require(first.keep_best(score)? == kept, format!("a score of {score} after {step} steps"))?;
    }
    require(first.best() == Some((0.5, 2)), format!("the best is {:?}", first.best()))?;
    let is_of = |step, score| {
        let file = Checkpoint::open(&best_file(&file))?;
        let about = file.about();
        require((about.step, about.score) == (step, Some(score)), format!("kept: {:?} of {}", about.score, about.step))
    };
    is_of(2, 0.5)?;
    require(Checkpoint::open(&file)?.about().score.is_none(), "the newest is no best one")?;
    let mut rest = trainer(bench, saving(&file, 6))?;
    rest.resume(&file)?;
    require(rest.best() == Some((0.5, 2)), format!("a run that goes on takes {:?} for the best", rest.best()))?;
    to(&mut rest, 5)?;
    require(!rest.keep_best(0.4)? && rest.keep_best(0.75)?, "after five steps")?;
    is_of(5, 0.75)?;
    // The weights are those of that step.
    let mut again = trainer(bench, saving(&file, 6))?;
    again.resume(&best_file(&file))?;
    require(again.homes().snapshot()? == rest.homes().snapshot()?, "the best has other weights")?;
    // Nowhere to keep it, and what another run kept.
    require(!trainer(bench, settings(1))?.keep_best(0.9)?, "a run without checkpoint keeps nothing")?;
    let mut other = trainer(bench, Settings { seed: 6, ..saving(&file, 1) })?;
    train(&mut other)?;
    refused(trainer(bench, Settings { seed: 6, ..saving(&file, 1) })?.resume(&file), &["model-best", "seed"])
}

/// What cannot be written leaves everything as it was, and names the step.
fn refused_by_disk(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let mut kept = trainer(bench, saving(&file, 6))?;
    kept.keep_last(2);
    // Folders stand where the files were to be.
    fs::create_dir(older_file(&file, 2))?;
    fs::create_dir(best_file(&file))?;
    let stopped = kept.train(&noise(24), &AtomicBool::new(false), |_| {});
    refused(stopped, &["in step 4", "model-000002", "holds the run after 2 steps"])?;
    let before = kept.best();
    refused(kept.keep_best(0.5), &["in step 4", "model-best"])?;
    require(kept.best() == before, "a best one that was not written")?;
    require(names(folder.path())?.len() == 3, "something half-written stays")?;
    require(Checkpoint::open(&file)?.about().step == 2, "the newest is another")?;
    fs::remove_dir(older_file(&file, 2))?;
    train(&mut kept)?;
    let expected = ["model-000002.safetensors", "model-best.safetensors", "model.safetensors"];
    require(names(folder.path())? == expected, format!("tried again: {:?}", names(folder.path())?))
}
