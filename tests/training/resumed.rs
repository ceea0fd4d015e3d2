//! A run in two parts, with a file between them, is the run that went straight on: losses, weights and state, to the bit.

use std::path::PathBuf;

use libtest_mimic::Failed;
use vistok::train::{Report, Settings, Trainer};

use super::{Bench, Outcome, require, train, trainer};

/// A run that went straight on, and the file of its first part.
pub(crate) struct Resumed {
    pub(crate) reports: Vec<Report>,
    pub(crate) straight: Trainer,
    pub(crate) file: PathBuf,
    _folder: tempfile::TempDir,
}

/// Trains straight on, and again in two parts, of which the first has so many steps; demands that nothing differs.
pub(crate) fn resumed(bench: &Bench, settings: &Settings, part: u64) -> Result<Resumed, Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("half.safetensors");
    let mut straight = trainer(bench, settings.clone())?;
    let reports = train(&mut straight)?;
    let mut half = trainer(bench, Settings { steps: part, ..settings.clone() })?;
    train(&mut half)?;
    half.save(&file)?;
    let mut rest = trainer(bench, settings.clone())?;
    rest.resume(&file)?;
    let asked = settings.steps;
    require(
        train(&mut rest)?[..] == reports[part as usize..],
        format!("of {asked} steps losses behind {part} differ"),
    )?;
    require(rest.homes().snapshot()? == straight.homes().snapshot()?, "weights, statistics or state differ")?;
    Ok(Resumed { reports, straight, file, _folder: folder })
}

/// The same; and a run of fewer steps than the file has does none.
pub(crate) fn resumes_with(bench: &Bench, settings: Settings) -> Outcome {
    let resumed = resumed(bench, &settings, settings.steps / 2)?;
    let mut over = trainer(bench, Settings { steps: settings.steps / 2 - 2, ..settings })?;
    over.resume(&resumed.file)?;
    require(train(&mut over)?.is_empty(), "a run of fewer steps than the file has went on")
}
