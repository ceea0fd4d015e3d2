//! What a run keeps: averages, the last checkpoints and the best; and what one that diverges says.

use std::fs;
use std::path::Path;

use super::sight::fewer_images;
use super::{Outcome, document, has_adapter, output, refusal, text, vistok};

/// Three passes over 160 images, eight steps of two batches each.
fn train(data: &str, out: &Path, more: &[&str]) -> std::process::Command {
    let mut command = vistok(&["train", "--data", data, "--epochs", "3", "--batch", "10", "--accumulate", "2"]);
    command.args(["--ema", "0.75", "--keep", "2", "--best", "--json"]).args(more).arg("--out").arg(out);
    command
}

#[test]
fn the_last_and_the_best_are_kept_and_averages_are_read() -> Outcome {
    if !has_adapter("train --keep --best --ema --accumulate") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (data, run) = (fewer_images(folder.path(), 50)?, folder.path().join("run"));
    let told = document(&mut train(&data, &run, &[]))?;
    let mut weights: Vec<String> = fs::read_dir(&run)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    weights.retain(|name| name.ends_with(".safetensors"));
    weights.sort();
    assert_eq!(weights, ["model-000016.safetensors", "model-best.safetensors", "model.safetensors"]);
    let steps = fs::read_to_string(run.join("steps.csv"))?.lines().count() - 1;
    assert_eq!(steps, 24, "160 images are eight steps of twice ten");
    let scores = fs::read_to_string(run.join("epochs.csv"))?;
    let best = told["best"]["score"].as_f64().ok_or("no best score")?;
    let scored = scores.lines().skip(1).flat_map(|row| row.split(',').filter_map(|cell| cell.parse::<f64>().ok()));
    assert!(scored.clone().any(|number| (number - best).abs() < 1e-6), "{best} is no score of {scores}");
    // The best file says what its run said of it; its weights themselves are others.
    let eval = |more: &[&str]| {
        let file = run.join("model-best.safetensors");
        document(vistok(&["eval", "--data", &data, "--json", "--weights", text(&file)?]).args(more))
    };
    let (averaged, raw) = (eval(&[])?, eval(&["--raw"])?);
    assert_eq!((averaged["averaged"].as_bool(), raw["averaged"].as_bool()), (Some(true), Some(false)));
    assert_eq!((averaged["test_accuracy"].as_f64(), &averaged["steps"]), (Some(best), &told["best"]["step"]));
    // Nothing is left to do, and what was best still is.
    let again = document(&mut train(&data, &run, &["--resume"]))?;
    assert_eq!(again["best"], told["best"]);
    Ok(())
}

#[test]
fn a_run_that_diverges_says_where_it_began() -> Outcome {
    if !has_adapter("train --rate 1e30") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (data, run) = (fewer_images(folder.path(), 50)?, folder.path().join("run"));
    let line = refusal(&mut train(&data, &run, &["--rate", "1e30", "--warm-up", "0steps"]))?;
    for words in [
        "in step 2 the loss is",
        "the first bad value is in step 2: ",
        " wrote ",
        "--clip",
        "nothing of the run was saved",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(!line.contains("--resume continues"), "it would diverge again: {line}");
    assert!(!run.join("model.safetensors").exists(), "bad weights were saved");
    assert_eq!(output(&mut train(&data, &run, &["--keep", "0"]))?.status.code(), Some(2));
    Ok(())
}
