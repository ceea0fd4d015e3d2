//! Case files: what other frameworks computed, replayed by our maths and on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vistok::gpu;
use vistok::plan::PlanError;
use vistok::verify::{CaseFile, CaseRow, ReplayError};

use super::Arguments;
use crate::cli::machine::Machine;
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
    let machine = Machine::open(arguments.adapter.adapter.as_deref())?;
    let info = machine.device.info();
    speak::note(&format!("{}, {} {}, {}", info.name, info.driver, info.driver_info, info.backend));
    let replayed =
        cases.into_iter().map(|(file, case)| replay(&machine, file, &case)).collect::<Result<Vec<_>, _>>()?;

    let rows = || replayed.iter().flat_map(|file| &file.rows);
    let broken = replayed.iter().filter(|file| file.failed).count();
    let failed = rows().filter(|row| row.fault.is_some()).count() + broken;
    let passed = rows().filter(|row| row.fault.is_none()).count();
    let not_run = replayed.iter().filter(|file| file.reason.is_some() && !file.failed).count();
    let mut text = table(&replayed);
    text += &format!("\n{passed} passed, {failed} failed, {not_run} not run\n");
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let document = json!({
            "adapter": info.name,
            "driver": format!("{} {}", info.driver, info.driver_info).trim(),
            "backend": info.backend.to_string(),
            "passed": passed,
            "failed": failed,
            "not_run": not_run,
            "rows": replayed.iter().flat_map(documents).collect::<Vec<Value>>(),
        });
        speak::say_json(&document)?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::Failed { failed, compared: passed + failed }),
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
fn replay(machine: &Machine, file: String, case: &CaseFile) -> Result<Replayed, Error> {
    let mut replayed =
        Replayed { file, subject: case.subject().to_owned(), rows: case.maths(), reason: None, failed: false };
    match case.replay(&machine.device, &machine.pipelines) {
        Ok(rows) => replayed.rows.extend(rows),
        Err(ReplayError::Gpu(lost @ gpu::Error::Lost { .. })) => return Err(lost.into()),
        Err(ReplayError::Plan(unfit @ PlanError::NoF16 { .. })) => replayed.reason = Some(unfit.to_string()),
        Err(error) => (replayed.reason, replayed.failed) = (Some(error.to_string()), true),
    }
    Ok(replayed)
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
