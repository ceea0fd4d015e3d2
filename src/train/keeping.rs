//! What is kept of a run: its newest checkpoint, some of those before it, and the one that scored best; and how a run goes on.

use std::fs;
use std::path::{Path, PathBuf};

use super::accumulate::ACCUMULATED;
use super::checkpoint::{self, About, Checkpoint, CheckpointError};
use super::error::TrainError;
use super::files;
use super::report::Resumed;
use super::trainer::Trainer;

/// What this process knows to be kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The file that the run was last written to or read from, and after how many steps.
    pub(super) last: Option<(PathBuf, u64)>,
    /// How many checkpoints before the newest stay.
    older: usize,
    /// The highest score, and after how many steps.
    best: Option<(f64, u64)>,
}

/// The checkpoint that scored best stands here, beside the newest: `model-best.safetensors`.
#[must_use]
pub fn best_file(newest: &Path) -> PathBuf {
    beside(newest, "best")
}

/// An older checkpoint stands here: `model-000400.safetensors`, of the run after 400 steps.
#[must_use]
pub fn older_file(newest: &Path, step: u64) -> PathBuf {
    beside(newest, &format!("{step:06}"))
}

fn beside(newest: &Path, what: &str) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (part(newest.file_stem()), part(newest.extension()));
    let dot = if extension.is_empty() { "" } else { "." };
    newest.with_file_name(format!("{stem}-{what}{dot}{extension}"))
}

/// The steps of the older checkpoints that there are, from the first on.
fn older_steps(newest: &Path) -> Result<Vec<u64>, CheckpointError> {
    let folder = newest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut steps = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused(folder, "list"))? {
        let name = entry.map_err(refused(folder, "list"))?.file_name();
        let digits = |name: &str| {
            let number = name.rsplit_once('-')?.1;
            number.split('.').next()?.parse().ok()
        };
        // Only what this program would call so is one of its files.
        let step = name
            .to_str()
            .and_then(digits)
            .filter(|&step| older_file(newest, step).file_name() == Some(name.as_os_str()));
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}

fn refused(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let file = path.display().to_string();
    move |source| CheckpointError::File { file, doing, source }
}

impl Trainer {
    /// The step that the settings' checkpoint holds, as far as this run has written or read it.
    #[must_use]
    pub fn saved(&self) -> Option<u64> {
        let own = self.settings.checkpoint.as_ref().map(|(path, _)| path);
        self.kept.last.as_ref().filter(|(path, _)| Some(path) == own).map(|(_, step)| *step)
    }

    /// From now on so many checkpoints of this run are kept, the newest among them; the others stand beside it ([`older_file`]). Until
    /// this is called it is one.
    pub fn keep_last(&mut self, checkpoints: usize) {
        self.kept.older = checkpoints.saturating_sub(1);
    }

    /// The highest score that weights were kept for, and after how many steps they had it.
    #[must_use]
    pub fn best(&self) -> Option<(f64, u64)> {
        self.kept.best
    }

    /// Keeps the run as it is beside its checkpoint ([`best_file`]), with its score, where no score before was as high; says whether
    /// it did. A run without a checkpoint keeps nothing.
    ///
    /// # Errors
    /// As [`save`](Self::save); then what was kept before is what it was.
    pub fn keep_best(&mut self, score: f64) -> Result<bool, TrainError> {
        let Some((path, _)) = &self.settings.checkpoint else { return Ok(false) };
        if score.is_nan() || self.kept.best.is_some_and(|(best, _)| score <= best) {
            return Ok(false);
        }
        self.whole()?;
        let (about, step) = (About { score: Some(score), ..self.about.clone() }, self.about.step);
        checkpoint::save(&best_file(path), self.homes(), &about).map_err(|error| self.after(step, error.into()))?;
        self.kept.best = Some((score, step));
        Ok(true)
    }

    /// Writes all homes and where the run stands.
    ///
    /// # Errors
    /// As [`checkpoint::save`]; and [`TrainError::Torn`] after a step whose end is unknown.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        self.whole()?;
        Ok(checkpoint::save(path, self.homes(), &self.about)?)
    }

    /// Continues where the run that wrote this file stood, and says whether bit for bit. Where the settings' checkpoint has a best one
    /// beside it, a better score than that is needed from now on.
    ///
    /// # Errors
    /// When a file cannot be read, or was written by a run of another model, batch, seed, recipe or other images.
    pub fn resume(&mut self, path: &Path) -> Result<Resumed, TrainError> {
        let file = Checkpoint::open(path)?;
        self.is_of_this_run(path, file.about())?;
        let best = self.best_before()?;
        file.check(self.homes().layout())?;
        self.restore(path, &file)?;
        self.kept.best = best;
        let (there, here) = (file.about().machine.clone(), self.about.machine.clone());
        Ok(if there == here { Resumed::Exactly } else { Resumed::Elsewhere { there, here } })
    }

    /// Makes the homes what the file holds, which was checked.
    pub(super) fn restore(&mut self, path: &Path, file: &Checkpoint) -> Result<(), TrainError> {
        // From the first byte written to the last, the weights are of neither run.
        self.submitted = u64::MAX;
        file.load(self.homes())?;
        // A step that did not end may have left a part of a sum.
        for stored in
            self.homes().layout().homes().iter().filter(|home| home.name == ACCUMULATED).flat_map(|home| &home.tensors)
        {
            self.homes().write_bytes(ACCUMULATED, &stored.name, &vec![0; stored.tensor.bytes()])?;
        }
        let step = file.about().step;
        (self.submitted, self.about.step) = (step, step);
        self.kept.last = Some((path.to_owned(), step));
        Ok(())
    }

    fn is_of_this_run(&self, path: &Path, about: &About) -> Result<(), CheckpointError> {
        let differences = about.differences(&self.about);
        if differences.is_empty() {
            return Ok(());
        }
        let differences = format!("{}: give this run what that run was given", differences.join("; "));
        Err(CheckpointError::Differs { file: path.display().to_string(), differences })
    }

    /// The best that stands beside the settings' checkpoint.
    fn best_before(&self) -> Result<Option<(f64, u64)>, CheckpointError> {
        let Some(path) = self.settings.checkpoint.as_ref().map(|(path, _)| best_file(path)) else { return Ok(None) };
        if !path.try_exists().map_err(refused(&path, "read"))? {
            return Ok(None);
        }
        let file = Checkpoint::open(&path)?;
        self.is_of_this_run(&path, file.about())?;
        Ok(file.about().score.map(|score| (score, file.about().step)))
    }

    pub(super) fn whole(&self) -> Result<(), TrainError> {
        let step = self.about.step + 1;
        if self.submitted == self.about.step { Ok(()) } else { Err(TrainError::Torn { step }) }
    }

    /// Whether the run is saved once so many steps are done.
    pub(super) fn is_saved_after(&self, steps: u64) -> bool {
        let due = |(_, every): &(PathBuf, u64)| steps.is_multiple_of(*every.max(&1)) || steps == self.settings.steps;
        self.settings.checkpoint.as_ref().is_some_and(due)
    }

    /// What is kept of the run, in words.
    pub(super) fn kept(&self) -> String {
        match (&self.settings.checkpoint, self.saved()) {
            (Some((path, _)), Some(step)) => format!("{} holds the run after {step} steps", path.display()),
            _ => "nothing of the run was saved yet".to_owned(),
        }
    }

    /// A fault of the machine, the disk or the data, with the step and what is kept of the run.
    pub(super) fn in_step(&self, at: u64, error: TrainError) -> TrainError {
        if !matches!(error, TrainError::Gpu(_) | TrainError::Checkpoint(_) | TrainError::Data(_)) {
            return error;
        }
        TrainError::Step { step: at + 1, source: Box::new(error), kept: self.kept() }
    }

    /// [`in_step`](Self::in_step) of the last of so many steps.
    fn after(&self, steps: u64, error: TrainError) -> TrainError {
        self.in_step(steps.saturating_sub(1), error)
    }

    /// Saves the run, where it is to be saved. What was the newest checkpoint becomes an older one first, and the oldest goes only when
    /// the newest is whole.
    pub(super) fn keep(&mut self) -> Result<(), TrainError> {
        let Some((path, _)) = self.settings.checkpoint.clone() else { return Ok(()) };
        let (step, older) = (self.about.step, self.kept.older);
        let before = self.saved().filter(|&before| older > 0 && before != step);
        let aged: Result<(), TrainError> = before.map_or(Ok(()), |before| {
            let other = older_file(&path, before);
            files::link(&path, &other).map_err(|source| refused(&other, "write")(source).into())
        });
        aged.and_then(|()| self.save(&path)).map_err(|error| self.after(step, error))?;
        self.kept.last = Some((path.clone(), step));
        match older {
            0 => Ok(()),
            _ => self.forget(&path, older).map_err(|error| self.after(step, error.into())),
        }
    }

    /// Removes all but so many of the older checkpoints. Those of steps to come are another run's.
    fn forget(&self, newest: &Path, older: usize) -> Result<(), CheckpointError> {
        let mut steps = older_steps(newest)?;
        steps.retain(|&step| step < self.about.step);
        for &step in &steps[..steps.len().saturating_sub(older)] {
            let file = older_file(newest, step);
            fs::remove_file(&file).map_err(refused(&file, "remove"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_others() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let newest = folder.path().join("model.safetensors");
        let (older, long) = (older_file(&newest, 400), older_file(&newest, 12_345_678));
        assert_eq!(older.file_name(), Some("model-000400.safetensors".as_ref()));
        assert_eq!(best_file(&newest).file_name(), Some("model-best.safetensors".as_ref()));
        assert_eq!(best_file(Path::new("a/b")), Path::new("a/b-best"));
        for mine in ["model-400.safetensors", "model-best.safetensors", "other-000300.safetensors", "model-000300.csv"]
        {
            fs::write(folder.path().join(mine), b"")?;
        }
        fs::write(&long, b"")?;
        fs::write(&older, b"")?;
        assert_eq!(older_steps(&newest)?, [400, 12_345_678]);
        assert!(older_steps(&folder.path().join("absent/model")).is_err());
        Ok(())
    }
}
