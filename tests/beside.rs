//! `benches/compare.py`, with stand-ins for the program and for PyTorch: whether goals are counted, and whether a step that fails
//! leaves the others standing. Where there is no python3 there is nothing to test.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the comparison; `None` where there is no Python.
fn compare(out: &Path, steps: &str, minutes: &str, fail: &str) -> Option<Output> {
    let mut command = Command::new("python3");
    command.arg(here("benches/compare.py")).arg(here("tests/beside/vistok.py")).arg(out);
    command.args(["--steps", steps, "--minutes", minutes, "--commit", "abc", "--peer"]);
    command.arg(here("tests/beside/peer.py")).env("FAIL", fail).output().ok()
}

/// Reached or not, and the ratio, of the goal whose name holds all of these words.
fn goal<'a>(found: &'a Value, words: &[&str]) -> Result<(&'a Value, f64), Box<dyn Error>> {
    let goals = found["goals"].as_array().ok_or("no goals")?;
    let named = |goal: &&Value| words.iter().all(|word| goal["goal"].as_str().is_some_and(|goal| goal.contains(word)));
    let goal = goals.iter().find(named).ok_or_else(|| format!("no goal of {words:?}"))?;
    Ok((&goal["reached"], goal["ratio"].as_f64().unwrap_or(f64::NAN)))
}

fn read(folder: &Path) -> Result<(Value, String), Box<dyn Error>> {
    let text = std::fs::read_to_string(folder.join("comparison.md"))?;
    Ok((serde_json::from_slice(&std::fs::read(folder.join("comparison.json"))?)?, text))
}

#[test]
fn goals_are_counted() -> Outcome {
    let folder = tempfile::tempdir()?;
    let Some(output) = compare(folder.path(), "models,gemm,layers,compile", "1", "") else { return Ok(()) };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (found, text) = read(folder.path())?;
    assert_eq!(
        (&found["adapter"], &found["commit"], &found["driver"]),
        (&"Stand-in".into(), &"abc".into(), &"made up 1.0".into())
    );
    assert_eq!(String::from_utf8(output.stdout)?.trim(), text.trim());
    let wanted = [
        (&["batch 1, f16", "CUDA graph"][..], false, 1.2 / 1.0),
        (&["batch 1, f16", "torch.compile"], false, 0.9 / 1.0),
        (&["batch 64, f16", "against eager"], true, 10.0 / 4.0),
        (&["batch 64, f32", "strict"], false, 10.0 / 16.0),
        (&["training, batch 64, f16", "AMP"], true, 30.0 / 20.0),
        (&["memory of that step, f16"], false, 4000.0 / 6000.0),
        (&["GEMM 1024, f16"], true, 0.03 / 0.02),
        (&["GEMM 4096, f32"], false, 0.03 / 0.4),
        (&["f16, weight gradient: geometric mean"], false, 0.3_f64.cbrt()),
        (&["f16, input gradient: the slowest layer"], false, 0.3),
        (&["f32, forward: geometric mean"], false, 0.3_f64.cbrt()),
        (&["training, batch 32, f32", "portable"], true, 358.0 / 20.0),
    ];
    for (words, reached, ratio) in wanted {
        let (known, found) = goal(&found, words)?;
        assert!(*known == reached && (found - ratio).abs() < 1e-9, "{words:?}: {known}, {found} for {ratio}");
    }
    // Nobody measured it, so nobody knows.
    assert!(goal(&found, &["memory-bound"])?.0.is_null());
    // Ours ran again behind the peer, and both times count; networks with and without visual tokens and those that segment are three suites.
    let again = found["ours"]["gemm"].as_array().map(Vec::len);
    assert_eq!((again, found["ours"]["models"].as_array().map(Vec::len)), (Some(2), Some(5)));
    Ok(())
}

#[test]
fn what_fails_is_named_and_leaves_the_others() -> Outcome {
    let folder = tempfile::tempdir()?;
    let Some(output) = compare(folder.path(), "gemm,layers", "1", "f32") else { return Ok(()) };
    assert_eq!(output.status.code(), Some(1));
    let (found, text) = read(folder.path())?;
    assert!(text.contains("- layers f32, ours: exit status 1: error: no f32 here"), "{text}");
    assert!(text.contains("- layers f32, peer:"), "{text}");
    assert!(goal(&found, &["f16, forward: geometric mean"])?.0.is_boolean());
    assert!(goal(&found, &["f32, forward: geometric mean"])?.0.is_null());
    // One that does not end, in six seconds of which each step but it takes little.
    let folder = tempfile::tempdir()?;
    let Some(output) = compare(folder.path(), "memory-bound", "0.1", "") else { return Ok(()) };
    let (found, text) = read(folder.path())?;
    assert!(output.status.code() == Some(1) && text.contains("- memory-bound, peer: it took longer than"), "{text}");
    let (reached, share) = goal(&found, &["memory-bound"])?;
    assert!(*reached == false && (share - 0.5).abs() < 1e-9 && text.contains("1 of 2 kernels"), "{text}");
    Ok(())
}
