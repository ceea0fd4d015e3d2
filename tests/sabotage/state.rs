//! What came of each mutant, a JSON line each, appended: a run that stops anywhere goes on where it stood.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use vistok::reference::Random;
use vistok::verify::sabotage::{Files, Mutant};

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `noticed`, `refused`, `survived` or `unreached`.
    pub(crate) outcome: String,
    /// By what, or why.
    pub(crate) detail: String,
}

/// Verdicts by the mutants' names.
pub(crate) type Verdicts = BTreeMap<String, Verdict>;

/// Tells whether a file is still the one that was judged.
fn print(files: &Files, file: &str) -> String {
    let text = files.text(file).unwrap_or_default();
    format!("{:016x}", Random::named(0, text).bits())
}

/// The verdicts of a state file that still hold: those on texts that have not changed since.
pub(crate) fn read(path: &Path, files: &Files) -> Result<Verdicts, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut verdicts = Verdicts::new();
    for line in text.lines() {
        // The last line of a run that was killed may be half a line.
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { continue };
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let (Some(name), Some(file), Some(outcome)) = (field("mutant"), field("file"), field("outcome")) else {
            continue;
        };
        // What another machine does not run, this one may.
        if outcome != "unreached" && field("print") == Some(&print(files, file)) {
            let (outcome, detail) = (outcome.to_owned(), field("detail").unwrap_or_default().to_owned());
            verdicts.insert(name.to_owned(), Verdict { outcome, detail });
        }
    }
    Ok(verdicts)
}

/// Adds the verdicts of another machine or shard: who noticed wins, then who ran it at all.
pub(crate) fn merge(verdicts: &mut Verdicts, others: Verdicts) {
    let rank = |verdict: &Verdict| match verdict.outcome.as_str() {
        "noticed" => 3,
        "survived" => 2,
        "refused" => 1,
        _ => 0,
    };
    for (name, verdict) in others {
        if verdicts.get(&name).is_none_or(|known| rank(known) < rank(&verdict)) {
            verdicts.insert(name, verdict);
        }
    }
}

/// Opens a state file to append to; a line that was cut off is ended first.
pub(crate) fn append(path: &Path) -> Result<File, String> {
    let cut = std::fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let mut file = opened.map_err(|error| format!("{}: {error}", path.display()))?;
    if cut {
        file.write_all(b"\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(file)
}

/// Writes a verdict down.
pub(crate) fn write(file: &mut File, files: &Files, mutant: &Mutant, verdict: &Verdict) -> std::io::Result<()> {
    let [line, column] = mutant.place;
    let fields = json!({
        "mutant": mutant.name,
        "file": mutant.file,
        "place": format!("{line}:{column}"),
        "print": print(files, mutant.file),
        "outcome": verdict.outcome,
        "detail": verdict.detail,
    });
    file.write_all(format!("{fields}\n").as_bytes())
}
