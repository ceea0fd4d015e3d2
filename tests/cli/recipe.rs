//! Recipes of `vistok train`: what is refused, what is printed and kept, and that options override.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::sight::fewer_images;
use super::{Outcome, has_adapter, output, refusal, vistok};

fn train(data: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = vistok(&["train", "--data", data, "--out"]);
    command.arg(out).args(more);
    command
}

#[test]
fn recipes_that_cannot_be_followed_are_refused_by_name() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let line = refusal(&mut train("embedded", &out, &["--recipe", "advanced"]))?;
    assert!(
        line.contains("recipe advanced")
            && line.contains("--teacher FILE")
            && line.contains("`--without distillation`"),
        "{line}"
    );
    let line = refusal(&mut train("embedded", &out, &["--distillation", "0.8", "--teacher", "/nowhere"]))?;
    assert!(line.contains("/nowhere"), "{line}");
    let line = refusal(&mut train("scenes", &out, &["--augment", "autoaugment-timm"]))?;
    assert!(line.contains("--augment flip or none"), "{line}");
    let line = refusal(&mut train("embedded", &out, &["--warm-up", "5", "--epochs", "5"]))?;
    assert!(line.contains("--warm-up") && line.contains("800"), "{line}");
    let line = refusal(&mut train("folder:/nowhere", &out, &["--shift", "2"]))?;
    assert!(line.contains("--shift"), "{line}");
    for (option, wrong) in [
        ("--recipe", "best"),
        ("--without", "everything"),
        ("--schedule", "step:2"),
        ("--warm-up", "5minutes"),
        ("--smoothing", "1.5"),
        ("--augment", "much"),
        ("--shift", "-1"),
        ("--ema", "1"),
        ("--depth", "0"),
        ("--dropout", "1"),
        ("--distillation", "1.1"),
        ("--temperature", "0"),
    ] {
        let found = output(&mut train("embedded", &out, &[option, wrong]))?;
        assert_eq!(found.status.code(), Some(2), "{option} {wrong}");
    }
    Ok(())
}

#[test]
fn a_recipe_is_printed_followed_and_kept() -> Outcome {
    if !has_adapter("train --recipe") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let run = folder.path().join("run");
    let recipe = ["--recipe", "default", "--batch", "20", "--epochs", "2", "--schedule", "step:0.5:4steps"];
    let more = ["--warm-up", "4steps", "--smoothing", "0.1", "--augment", "autoaugment", "--shift", "1", "--clip", "5"];
    let said = output(&mut train(&data, &run, &[&recipe[..], &more].concat()))?;
    let printed = String::from_utf8(said.stderr)?;
    assert!(said.status.success(), "{printed}");
    let row = |words: &str| printed.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
    for words in [
        "batch 20 the paper has 256",
        "momentum 0.9 the paper's",
        "nesterov no ours: the paper does not say",
        "weight decay 4e-5 the paper's",
        "clip 5.0 ours: the paper does not say",
        "schedule x 0.5 every 4 steps the paper has x 0.1 every 30 epochs",
        "smoothing 0.1 ours: the paper does not say",
        "read as DeepVoltaire ours: the paper does not say",
    ] {
        assert!(row(words), "{words}: {printed}");
    }
    let table = fs::read_to_string(run.join("steps.csv"))?;
    let rates: Vec<f32> = table.lines().skip(1).filter_map(|row| row.split(',').nth(3)?.parse().ok()).collect();
    let up = [0.025, 0.043_75, 0.062_5, 0.081_25];
    let down = [0.1, 0.05, 0.025].map(|rate| [rate; 4]);
    assert_eq!(rates.len(), 16, "{table}");
    for (rate, expected) in rates.iter().zip(up.iter().chain(down.as_flattened())) {
        assert!((rate - expected).abs() < 1e-6, "{rates:?}");
    }
    // What was chosen is in the weight file: without it the run does not go on, with it there is nothing left to do.
    let line = refusal(&mut train(&data, &run, &["--resume", "--batch", "20", "--epochs", "2"]))?;
    assert!(line.contains("recipe is WarmUp") && line.contains("smoothing 0.1"), "{line}");
    let all = [&recipe[..], &more, &["--resume"]].concat();
    assert!(output(&mut train(&data, &run, &all))?.status.success());
    let weights = fs::read(run.join("model.safetensors"))?;
    assert!(String::from_utf8_lossy(&weights).contains(r#"\"kind\":\"default\","#), "it is kept");
    Ok(())
}

#[test]
fn a_smoothed_loss_is_another_from_the_first_step_on() -> Outcome {
    if !has_adapter("train --smoothing") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let mut losses = Vec::new();
    for smoothing in ["0", "0.1"] {
        let run = folder.path().join(smoothing);
        assert!(output(&mut train(&data, &run, &["--epochs", "1", "--smoothing", smoothing]))?.status.success());
        let table = fs::read_to_string(run.join("steps.csv"))?;
        losses.push(table.lines().nth(1).and_then(|row| row.split(',').nth(2)).unwrap_or_default().to_owned());
    }
    assert_ne!(losses[0], losses[1]);
    Ok(())
}

#[test]
fn optimizers_have_rates_that_suit_them_where_none_is_given() -> Outcome {
    if !has_adapter("train --optimizer") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    for (more, rate) in [
        (&[][..], 0.05),
        (&["--optimizer", "sgd"], 0.05),
        (&["--optimizer", "adamw"], 0.001),
        (&["--optimizer", "rmsprop"], 0.001),
        (&["--optimizer", "adamw", "--rate", "0.002"], 0.002),
    ] {
        let run = folder.path().join(format!("{}{rate}", more.concat()));
        let said = output(&mut train(&data, &run, &[&["--epochs", "1", "--warm-up", "0"], more].concat()))?;
        let printed = String::from_utf8(said.stderr)?;
        assert!(said.status.success(), "{printed}");
        let row = printed.lines().find(|line| line.starts_with("rate ")).ok_or("no row for the rate")?;
        assert_eq!(row.split_whitespace().nth(1), Some(&*rate.to_string()), "{more:?}: {row}");
        let table = fs::read_to_string(run.join("steps.csv"))?;
        let first = table.lines().nth(1).and_then(|row| row.split(',').nth(3)?.parse::<f32>().ok());
        assert!(first.is_some_and(|first| (first - rate as f32).abs() < 1e-6), "{more:?}: {table}");
    }
    Ok(())
}

#[test]
fn what_a_teacher_says_is_written_down_and_learned() -> Outcome {
    if !has_adapter("teach") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = fewer_images(folder.path(), 50)?;
    let known = folder.path().join("known");
    assert!(output(&mut train(&data, &known, &["--epochs", "1"]))?.status.success());
    let [weights, logits] = [known.join("model.safetensors"), folder.path().join("said.safetensors")];
    let teach = |data: &str| {
        let mut command = vistok(&["teach", "--json", "--data", data, "--weights"]);
        command.arg(&weights).arg("--out").arg(&logits);
        command
    };
    let line = refusal(&mut teach("fashion-mnist:/nowhere"))?;
    assert!(line.contains("/nowhere") && !logits.exists(), "{line}");
    let said = output(&mut teach(&data))?;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let told: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!((&told["images"], &told["classes"]), (&160.into(), &10.into()), "{told}");
    let file = fs::read(&logits)?;
    let file = safetensors::SafeTensors::deserialize(&file)?;
    assert_eq!((file.len(), file.tensor("logits")?.shape()), (1, &[160, 10][..]));
    let logits = logits.to_string_lossy();
    let taught = ["--epochs", "1", "--distillation", "0.8", "--teacher", &logits];
    assert!(output(&mut train(&data, &folder.path().join("student"), &taught))?.status.success());
    let line = refusal(&mut train("embedded", &folder.path().join("other"), &taught))?;
    assert!(line.contains("rows of 160 images") && line.contains("8000"), "{line}");
    Ok(())
}
