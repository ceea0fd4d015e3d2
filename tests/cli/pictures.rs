//! `vistok train` and `eval` on pictures that are classified: in folders and in shards, with some that cannot be read.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Outcome, document, has_adapter, output, refusal, text, vistok};
use crate::classes::{draw, file};

fn train(data: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = vistok(&["train", "--task", "classify", "--data", data, "--rate", "0.02", "--batch", "10"]);
    command.args(["--epochs", "3", "--checkpoint-every", "2", "--json", "--out"]).arg(out).args(more);
    command
}

#[test]
fn folders_of_the_other_kind_and_options_that_fit_nothing_are_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    draw(folder.path(), [2, 1])?;
    let (data, out) = (format!("folder:{}", text(folder.path())?), folder.path().join("out"));
    // Without a word of what is to be learned a folder is one of masks, as ever.
    let line = refusal(vistok(&["train", "--data", &data, "--out"]).arg(&out))?;
    assert!(line.contains("--task classify") && line.contains("train/masks"), "{line}");
    let line = refusal(&mut train(&data, &out, &["--scale", "0.5:2"]))?;
    assert!(line.contains("of its area"), "{line}");
    let line = refusal(&mut train(&data, &out, &["--model", "fpn-small"]))?;
    assert!(line.contains("--task classify"), "{line}");
    let line = refusal(&mut train("shards:/nowhere", &out, &[]))?;
    assert!(line.contains("/nowhere") && line.contains("KEY.cls"), "{line}");
    let line = refusal(&mut train("cifar:/nowhere", &out, &[]))?;
    assert!(line.contains("/nowhere") && line.contains("data_batch_1.bin"), "{line}");
    let line = refusal(&mut train("cifar:/nowhere", &out, &["--size", "28x28"]))?;
    assert!(line.contains("--size and --scale are for pictures in files"), "{line}");
    Ok(())
}

#[test]
fn pictures_are_learned_and_corrupt_ones_refused_or_skipped() -> Outcome {
    if !has_adapter("train --task classify") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    draw(folder.path(), [25, 3])?;
    let data = format!("folder:{}", text(folder.path())?);
    let run = |name: &str| folder.path().join("runs").join(name);
    let weights = |name: &str| fs::read(run(name).join("model.safetensors"));
    let found = document(&mut train(&data, &run("whole"), &[]))?;
    assert_eq!(found["skipped_images"], serde_json::json!([0, 0]), "{found:#}");
    assert!(found["test_accuracy"].as_f64().is_some_and(|right| right > 0.5), "{found:#}");
    // Refused, the run is kept, and mended it ends as if nothing had been. Of 75 pictures every other one tells the mean.
    let bad = file(folder.path(), "train", 1, 8);
    let whole = fs::read(&bad)?;
    fs::write(&bad, &whole[..whole.len() / 2])?;
    let line = refusal(&mut train(&data, &run("refused"), &[]))?;
    assert!(line.contains("green/008.png is no picture") && line.contains("in step "), "{line}");
    let begun = weights("refused")?;
    fs::write(&bad, &whole)?;
    document(&mut train(&data, &run("refused"), &["--resume"]))?;
    assert!(weights("refused")? == weights("whole")?, "mended, the run ends elsewhere");
    // Skipped, it is named once, and a run that is continued ends as one that never stopped.
    fs::write(&bad, &whole[..whole.len() / 2])?;
    let said = output(&mut train(&data, &run("skipped"), &["--corrupt", "skip"]))?;
    let notes = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && notes.matches("green/008.png is no picture").count() == 1, "{notes}");
    assert!(notes.contains("1 of 75 training images could not be read and were skipped"), "{notes}");
    fs::create_dir_all(run("continued"))?;
    fs::write(run("continued").join("model.safetensors"), begun)?;
    let found = document(&mut train(&data, &run("continued"), &["--resume", "--corrupt", "skip"]))?;
    assert_eq!(found["skipped_images"][0], 1, "{found:#}");
    assert!(weights("continued")? == weights("skipped")? && weights("skipped")? != weights("whole")?);
    // Tried on, a corrupt picture does not count.
    fs::write(file(folder.path(), "test", 2, 1), b"")?;
    let own = run("whole").join("model.safetensors");
    let eval = |more: &[&str]| {
        let mut command = vistok(&["eval", "--data", &data, "--json", "--weights"]);
        command.arg(&own).args(more);
        command
    };
    let line = refusal(&mut eval(&[]))?;
    assert!(line.contains("red/001.png is no picture"), "{line}");
    let found = document(&mut eval(&["--corrupt", "skip"]))?;
    assert_eq!((&found["test_images"], &found["skipped_images"]), (&8.into(), &1.into()), "{found:#}");
    let eighths = found["test_accuracy"].as_f64().ok_or("no score")? * 8.0;
    assert!((eighths - eighths.round()).abs() < 1e-9, "{found:#}");
    Ok(())
}
