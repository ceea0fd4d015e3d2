//! Case files: what other frameworks computed, replayed by our maths and on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vistok::gpu::{self, Device, OpenOptions, Pipelines};
use vistok::plan::PlanError;
use vistok::verify::{CaseFile, CaseRow, ReplayError, Witness};

use super::{Arguments, report};
use crate::cli::table::{Align, Table};
use crate::cli::{Error, speak};

/// A file, read; and what came of its tensors.
struct Replayed {
    file: String,
    subject: String,
    rows: Vec<CaseRow>,
    /// Why it was not run on the GPU, or why running failed.
    reason: Option<String>,
    failed: bool,
}

/// Replays a file, or every file of a folder.
pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<(), Error> {
    let mut cases = Vec::new();
    for path in files(path)? {
        let name = path.display().to_string();
        let case = CaseFile::open(&path).map_err(|problem| Error::Refused(format!("{name}: {problem}")))?;
        cases.push((name, case));
    }
    // With all that it has: an engine that is wrong is to be seen, not left out.
    let device = Device::open(&OpenOptions { adapter: arguments.adapter.adapter.clone(), ..OpenOptions::default() })?;
    let pipelines = Pipelines::new(&device, None);
    let machine = report::Machine::of(&device);
    machine.note();
    let replayed = cases.into_iter().map(|(file, case)| replay((&device, &pipelines), file, &case));
    let replayed = replayed.collect::<Result<Vec<_>, _>>()?;

    let rows = || replayed.iter().flat_map(|file| &file.rows);
    let broken = replayed.iter().filter(|file| file.failed).count();
    let failed = rows().filter(|row| row.fault.is_some()).count() + broken;
    let passed = rows().filter(|row| row.fault.is_none()).count();
    let not_run = replayed.iter().filter(|file| file.reason.is_some() && !file.failed).count();
    let ends = format!("\n{passed} passed, {failed} failed, {not_run} not run\n");
    speak::report(arguments.json, &[machine.text(), table(&replayed), ends].concat())?;
    if arguments.json {
        let document = json!({
            "passed": passed,
            "failed": failed,
            "not_run": not_run,
            "rows": replayed.iter().flat_map(documents).collect::<Vec<Value>>(),
        });
        speak::say_json(&machine.with(document))?;
    }
    match (failed, rows().any(|row| row.witness == Witness::Gpu)) {
        (1.., _) => Err(Error::Failed { failed, compared: passed + failed }),
        (0, true) => Ok(()),
        // The maths alone prove no kernel.
        (0, false) => {
            let reason = replayed.iter().find_map(|file| file.reason.clone()).unwrap_or_default();
            Err(Error::Nothing { reason })
        }
    }
}

/// The file itself, or every case file of a folder, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| refusal(path, source))? {
        let path = entry.map_err(|source| refusal(path, source))?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Error::Refused(format!("{}: there is no case file, *.safetensors, in it", path.display()))),
        false => Ok(found),
    }
}

fn refusal(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), source, remedy: "--case takes a case file, or a folder of them" }
}

/// By the maths, then by the GPU. A lost device ends everything; what else a file runs into is its own failure.
fn replay((device, pipelines): (&Device, &Pipelines), file: String, case: &CaseFile) -> Result<Replayed, Error> {
    let mut replayed =
        Replayed { file, subject: case.subject().to_owned(), rows: case.maths(), reason: None, failed: false };
    match case.replay(device, pipelines) {
        Ok(rows) => replayed.rows.extend(rows),
        Err(ReplayError::Gpu(lost @ gpu::Error::Lost { .. })) => return Err(lost.into()),
        // The machine is too small for it, which says nothing about kernels.
        Err(error) if is_too_small(&error) => replayed.reason = Some(error.to_string()),
        Err(error) => (replayed.reason, replayed.failed) = (Some(error.to_string()), true),
    }
    Ok(replayed)
}

fn is_too_small(error: &ReplayError) -> bool {
    use PlanError::{NoF16, ScratchTooLarge, TooLarge};
    match error {
        ReplayError::Plan(plan) => matches!(plan, NoF16 { .. } | TooLarge { .. } | ScratchTooLarge { .. }),
        ReplayError::Gpu(error) => matches!(error, gpu::Error::OutOfMemory { .. }),
    }
}

/// A line for every file and tensor: what each witness makes of it.
fn table(replayed: &[Replayed]) -> String {
    let left = |head| (head, Align::Left);
    let right = |head| (head, Align::Right);
    let columns =
        [left("op"), left("case"), left("tensor"), left("by"), right("error"), right("allowed"), left("result")];
    let mut table = Table::new(&columns);
    for file in replayed {
        let name = Path::new(&file.file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for row in &file.rows {
            let result = row.fault.as_ref().map_or("passed".to_owned(), |fault| format!("FAILED: {fault}"));
            table.row(vec![
                file.subject.clone(),
                name.clone(),
                row.tensor.clone(),
                row.witness.name().to_owned(),
                format!("{:.1e}", row.error),
                format!("{:.1e}", row.allowed),
                result,
            ]);
        }
        if let Some(reason) = &file.reason {
            let result = if file.failed { "FAILED" } else { "not run" };
            let reason = crate::cli::error::one_line(reason);
            let blank = String::new;
            let by = "gpu".to_owned();
            table.row(vec![file.subject.clone(), name, blank(), by, blank(), blank(), format!("{result}: {reason}")]);
        }
    }
    table.text()
}

fn documents(file: &Replayed) -> Vec<Value> {
    let mut documents: Vec<Value> = file
        .rows
        .iter()
        .map(|row| {
            json!({
                "op": file.subject,
                "case": file.file,
                "tensor": row.tensor,
                "by": row.witness.name(),
                "status": if row.fault.is_none() { "passed" } else { "failed" },
                "error": row.error,
                "allowed": row.allowed,
                "reason": row.fault,
            })
        })
        .collect();
    if let Some(reason) = &file.reason {
        let status = if file.failed { "failed" } else { "not_run" };
        let (op, case) = (&file.subject, &file.file);
        documents.push(json!({ "op": op, "case": case, "by": "gpu", "status": status, "reason": reason }));
    }
    documents
}
