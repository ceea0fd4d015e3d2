//! `bench` and `profile`: rows, suites, a peer beside ours, a trace.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Outcome, document, has_adapter, refusal, text, vistok};

#[test]
fn bench_gives_a_row_a_measurement() -> Outcome {
    if !has_adapter("bench --json") {
        return Ok(());
    }
    // An update has one node and no gradient: the least that there is to measure, on any adapter.
    let found = document(&mut vistok(&["bench", "sgd", "--json"]))?;
    let rows = found["rows"].as_array().ok_or("no rows")?;
    assert!(!rows.is_empty());
    for key in ["name", "shape", "element", "pass", "median_ms", "tflops", "gb_per_s", "floor_ms"] {
        assert!(rows.iter().all(|row| row.get(key).is_some()), "a row without `{key}`");
    }
    assert!(rows.iter().all(|row| row["median_ms"].is_null() || row["median_ms"].as_f64() > Some(0.0)), "{found}");
    Ok(())
}

#[test]
fn benches_of_suites_models_and_beside_a_peer() -> Outcome {
    assert!(refusal(&mut vistok(&["bench", "gem", "f16"]))?.contains("there are: ops, gemm"), "a wrong suite");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("peer.json");
    let beside = |path: &Path| Ok::<_, &'static str>(vistok(&["bench", "gemm", "--json", "--against", text(path)?]));
    assert!(refusal(&mut beside(&path)?)?.contains("peer.json"), "a missing file is not named");
    fs::write(&path, "{\"rows\": [{\"name\": 3}]}")?;
    assert!(refusal(&mut beside(&path)?)?.contains("a row without its names"), "a broken file is taken");
    let row = serde_json::json!({ "name": "a", "shape": "b", "element": "f32", "pass": "forward", "median_ms": 1.0 });
    fs::write(&path, serde_json::json!({ "rows": [row, row] }).to_string())?;
    assert!(refusal(&mut beside(&path)?)?.contains("two rows are one"), "which of the two times counts?");
    if !has_adapter("bench models") {
        return Ok(());
    }
    let found = document(&mut vistok(&["bench", "models", "resnet-small", "--json"]))?;
    let rows = found["rows"].as_array().ok_or("no rows")?;
    assert!(rows.iter().any(|row| row["pass"] == "training") && rows.iter().any(|row| row["pass"] == "forward"));
    for key in ["throughput_ms", "latency_ms", "recording_ms", "peak_bytes", "dispatches"] {
        assert!(rows.iter().all(|row| row[key].as_f64() > Some(0.0)), "a row without `{key}`: {found}");
    }
    // Times of the first row, under the first row's names, come back beside ours.
    let row = &document(&mut vistok(&["bench", "gemm", "--json"]))?["rows"][0];
    let known = ["name", "shape", "element", "pass", "attributes"].map(|field| (field.to_owned(), row[field].clone()));
    let mut known: serde_json::Map<_, _> = known.into_iter().collect();
    known.insert("median_ms".to_owned(), 0.5.into());
    fs::write(&path, serde_json::json!({ "name": "somebody", "rows": [known] }).to_string())?;
    let found = document(&mut beside(&path)?)?;
    assert_eq!(found["rows"][0]["peer_ms"], 0.5);
    assert!(found["rows"][1]["peer_ms"].is_null());
    Ok(())
}

#[test]
fn a_profile_is_a_table_and_a_trace() -> Outcome {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace.json");
    let profile = |out: &Path| -> Result<Command, &'static str> {
        let mut command = vistok(&["profile", "resnet-small", "--image", "8x8x1", "--json", "--out"]);
        command.arg(text(out)?);
        Ok(command)
    };
    assert!(refusal(&mut profile(folder.path())?)?.contains("give another place with --out"), "a folder is no file");
    let nowhere = folder.path().join("nowhere").join("trace.json");
    assert!(refusal(&mut profile(&nowhere)?)?.contains("give another place with --out"));
    if !has_adapter("profile") {
        return Ok(());
    }
    let found = document(&mut profile(&trace)?)?;
    let calls = found["steps"].as_array().ok_or("no steps")?.len();
    let events: serde_json::Value = serde_json::from_slice(&fs::read(&trace)?)?;
    let events = events["traceEvents"].as_array().ok_or("no events")?;
    assert_eq!(events.iter().filter(|event| event["pid"] == 2 && event["ph"] == "X").count(), calls);
    assert!(calls > 0 && events.iter().any(|event| event["name"] == "record and submit"));
    assert!(found["kernels"].as_array().is_some_and(|kernels| !kernels.is_empty()));
    // Every call is of one part, gradients of the part whose values they are of.
    let train = document(profile(&trace)?.arg("--train"))?;
    let parts = train["parts"].as_array().ok_or("no parts")?;
    let names: Vec<&str> = parts.iter().filter_map(|part| part["part"].as_str()).collect();
    assert!(["stem", "stage2", "stage3", "head", "(outside)"].iter().all(|name| names.contains(name)), "{names:?}");
    assert!(names.iter().all(|name| !name.contains('\'')), "{names:?}");
    let all: u64 = parts.iter().filter_map(|part| part["calls"].as_u64()).sum();
    assert_eq!(Some(all as usize), train["steps"].as_array().map(Vec::len));
    Ok(())
}

#[test]
fn tuning_keeps_what_won_or_says_why_not() -> Outcome {
    assert!(refusal(&mut vistok(&["tune", "resnet19"]))?.contains("vt-resnet-demo"), "a wrong name");
    if !has_adapter("tune") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut tune = vistok(&["tune", "vt-resnet-demo", "--train", "--batch", "2", "--json"]);
    tune.env("XDG_CACHE_HOME", folder.path());
    if !super::output(&mut tune)?.status.success() {
        let line = refusal(&mut tune)?;
        assert!(line.contains("tune on a GPU") || line.contains("no timestamps"), "{line}");
        // Drivers keep things there, too.
        let kept = folder.path().join("vistok");
        assert!(!kept.exists() || !kept.read_dir()?.any(|file| is_table(&file)), "a table was kept");
        return Ok(());
    }
    let found = document(&mut tune)?;
    assert!(!found["products"].as_array().ok_or("no products")?.is_empty());
    let table = found["file"].as_str().ok_or("no file")?;
    assert!(Path::new(table).starts_with(folder.path()) && fs::read_to_string(table)?.contains("\"tiles\""));
    // What cannot be read costs speed, and nothing else.
    fs::write(table, "{")?;
    let mut bench = vistok(&["bench", "models", "resnet18 1x", "--json"]);
    let output = super::output(bench.env("XDG_CACHE_HOME", folder.path()))?;
    assert!(output.status.success() && String::from_utf8(output.stderr)?.contains("going on untuned"));
    Ok(())
}

fn is_table(file: &std::io::Result<fs::DirEntry>) -> bool {
    file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().starts_with("tiles-"))
}
