//! The line that `vistok train --result` adds.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::sight::{Made, fewer_images};
use super::{Outcome, document, has_adapter, output, refusal, text, vistok};

/// Two passes of eight steps over 160 images.
fn train(data: &str, out: &Path, result: &Path, more: &[&str]) -> Command {
    let mut command = vistok(&["train", "--data", data, "--epochs", "2", "--batch", "20", "--resume"]);
    command.args(more).arg("--out").arg(out).arg("--result").arg(result);
    command
}

/// Every line of a file, which ends with one.
fn lines(path: &Path) -> Made<Vec<Value>> {
    let text = fs::read_to_string(path)?;
    assert!(text.ends_with('\n'), "{text}");
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[test]
fn a_run_leaves_one_line_with_all_that_a_table_needs() -> Outcome {
    if !has_adapter("train --result") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (data, result) = (fewer_images(folder.path(), 50)?, folder.path().join("results.jsonl"));
    let out = folder.path().join("run");
    let more = ["--label", "small/1", "--seed", "7", "--f16", "--shift", "1", "--smoothing", "0.1", "--json"];
    let found = document(&mut train(&data, &out, &result, &more))?;
    let [line] = &lines(&result)?[..] else { return Err("not one line".into()) };
    for (field, value) in [
        ("label", "small/1".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("model", "vt-resnet-demo".into()),
        ("image", serde_json::json!([28, 28, 1])),
        ("train_images", 160.into()),
        ("test_images", 20.into()),
        ("seed", 7.into()),
        ("steps", 16.into()),
        ("epochs", 2.into()),
        ("batch", 20.into()),
        ("precision", "f16".into()),
        ("skipped_images", serde_json::json!([0, 0])),
    ] {
        assert_eq!(line[field], value, "{field}: {line:#}");
    }
    assert_eq!((&line["test_accuracy"], &line["adapter"]), (&found["test_accuracy"], &found["adapter"]), "{line:#}");
    let counted = document(&mut vistok(&["model", "vt-resnet-demo", "--json"]))?;
    for field in ["macs", "parameters", "network"] {
        assert_eq!(line[field], counted[field], "{field}");
    }
    let recipe = &line["recipe"];
    assert_eq!((&recipe["smoothing"], &recipe["shift"], &recipe["augment"]), (&0.1.into(), &1.into(), &"flip".into()));
    // What the log says of the last pass, and of the best.
    let table = fs::read_to_string(out.join("epochs.csv"))?;
    let rows: Vec<Vec<f64>> =
        table.lines().skip(1).map(|row| row.split(',').filter_map(|cell| cell.parse().ok()).collect()).collect();
    let best = if rows[1][3] > rows[0][3] { &rows[1] } else { &rows[0] };
    assert_eq!(line["final_loss"].as_f64(), Some(rows[1][2]), "{table}");
    assert_eq!((line["best_score"].as_f64(), line["best_epoch"].as_f64()), (Some(best[3]), Some(best[0])), "{table}");
    let number = |field: &str| line[field].as_f64().ok_or(format!("no number for {field}: {line:#}"));
    let seconds = number("train_seconds")?;
    assert!((seconds - rows[1][4]).abs() < 0.1 && seconds > 0.0, "{seconds}: {table}");
    assert!((number("images_per_second")? * seconds / 320.0 - 1.0).abs() < 1e-6);
    assert!(number("skipped_steps")? >= 0.0);
    // Without timestamps nothing is said of the GPU.
    if !line["gpu_busy"].is_null() {
        let (busy, step) = (number("gpu_busy")?, number("gpu_step_ms")?);
        assert!(busy > 0.0 && busy <= 1.0 && step > 0.0 && step < 60e3, "{busy} {step}");
    }
    Ok(())
}

#[test]
fn a_run_that_goes_on_has_one_line_and_others_are_kept() -> Outcome {
    if !has_adapter("train --result --resume") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (data, result) = (fewer_images(folder.path(), 50)?, folder.path().join("results.jsonl"));
    let [killed, other] = ["killed", "other"].map(|name| folder.path().join(name));
    // Another process was killed over its line.
    fs::write(&result, "{\"label\":\"before\"}\n{\"lab")?;
    let mut child = train(&data, &killed, &result, &["--label", "a"]).stderr(std::process::Stdio::null()).spawn()?;
    while !killed.join("model.safetensors").exists() && child.try_wait()?.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    assert_eq!(fs::read_to_string(&result)?, "{\"label\":\"before\"}\n{\"lab", "a run that did not end has no line");
    for _ in 0..3 {
        // The second and third find nothing to do.
        assert!(output(&mut train(&data, &killed, &result, &["--label", "a"]))?.status.success());
        let found = lines(&result)?;
        assert_eq!((found.len(), &found[1]["label"], &found[1]["steps"]), (2, &"a".into(), &16.into()), "{found:#?}");
    }
    // Killed between its last weights and its line: the line is made then.
    let before = lines(&result)?;
    fs::remove_file(killed.join("result.json"))?;
    fs::write(&result, "")?;
    assert!(output(&mut train(&data, &killed, &result, &["--label", "a"]))?.status.success());
    let again = &lines(&result)?[0];
    for field in ["label", "test_accuracy", "final_loss", "train_seconds", "best_score", "recipe"] {
        assert_eq!(again[field], before[1][field], "{field}");
    }
    assert!(again["gpu_busy"].is_null(), "of a process that did no step");
    assert!(output(&mut train(&data, &other, &result, &[]))?.status.success());
    let found = lines(&result)?;
    assert_eq!((found.len(), &found[1]["label"]), (2, &Value::Null));
    Ok(())
}

#[test]
fn a_line_that_cannot_be_written_is_found_before_training() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let line = refusal(&mut train("embedded", &out, folder.path(), &[]))?;
    assert!(line.contains(text(folder.path())?) && line.contains("--result"), "{line}");
    let wrong = output(vistok(&["train", "--data", "embedded", "--label", "x", "--out"]).arg(&out))?;
    assert_eq!(wrong.status.code(), Some(2), "a label without a line");
    Ok(())
}
