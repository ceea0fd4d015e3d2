//! What other frameworks computed (`tests/oracle/cases`), against our maths without a GPU, and against the kernels;
//! and the page that says how such files are written, against the code.
//!
//! Without an adapter the tests of kernels are listed as ignored; with `REQUIRE_GPU=1` they fail.

#[path = "oracle/page.rs"]
mod page;
#[path = "oracle/strict.rs"]
mod strict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Checks, Device, OpenOptions, Pipelines};
use vistok::verify::{CaseFile, CaseRow};

/// The most bytes of all committed case files.
const MOST_BYTES: u64 = 2_800_000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let gpu = open();
    let files = files();
    let mut trials = page::trials();
    trials.extend(strict::trials());
    trials.push(Trial::test("files are few and small", small));
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = file.clone();
        trials.push(Trial::test(format!("maths::{stem}"), move || judge(&CaseFile::open(&path)?.maths())));
        let name = format!("gpu::{stem}");
        trials.push(match gpu.clone() {
            Ok(gpu) if stem.ends_with("-f16") && !gpu.0.capabilities().f16 => {
                Trial::test(format!("{name} (no f16 on this adapter)"), || Ok(())).with_ignored_flag(true)
            }
            Ok(gpu) => Trial::test(name, move || on_gpu(&gpu, &file)),
            Err(reason) if std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1") => {
                Trial::test(name, move || Err(Failed::from(reason)))
            }
            Err(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join("cases")).expect("the case files are part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    files.sort();
    assert!(files.len() > 40, "only {} case files: are some missing?", files.len());
    files
}

fn open() -> Result<Arc<(Device, Pipelines)>, String> {
    let adapter = std::env::var("VISTOK_ADAPTER").ok();
    let device = Device::open(&OpenOptions { adapter, checks: Checks::Off, scalar: false });
    let device = device.map_err(|error| error.to_string())?;
    let pipelines = Pipelines::new(&device, None);
    Ok(Arc::new((device, pipelines)))
}

fn on_gpu((device, pipelines): &(Device, Pipelines), file: &Path) -> Result<(), Failed> {
    judge(&CaseFile::open(file)?.replay(device, pipelines)?)
}

fn judge(rows: &[CaseRow]) -> Result<(), Failed> {
    let faults: Vec<String> =
        rows.iter().filter_map(|row| Some(format!("{}: {}", row.tensor, row.fault.as_ref()?))).collect();
    match (rows.is_empty(), faults.is_empty()) {
        (true, _) => Err(Failed::from("nothing was compared")),
        (_, true) => Ok(()),
        _ => Err(Failed::from(faults.join("\n"))),
    }
}

fn small() -> Result<(), Failed> {
    let mut bytes = 0;
    for file in files() {
        bytes += fs::metadata(file)?.len();
    }
    if bytes <= MOST_BYTES { Ok(()) } else { Err(Failed::from(format!("{bytes} bytes; {MOST_BYTES} may be"))) }
}
