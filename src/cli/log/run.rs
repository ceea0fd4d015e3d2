//! The log of a run as it is read again: by `plot` and `report`.

use std::path::{Path, PathBuf};

use super::rows::{self, EPOCHS, EpochRow, Measure, STEPS, STEPS_HEAD, StepRow, epochs_head};
use crate::cli::Error;

/// A run by its folder, and what to call it.
#[derive(Clone, Debug)]
pub(crate) struct RunArgument {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

/// The log of a run.
pub(crate) struct Run {
    pub(crate) name: String,
    /// At least one.
    pub(crate) steps: Vec<StepRow>,
    pub(crate) epochs: Vec<EpochRow>,
    pub(crate) measure: Measure,
}

impl RunArgument {
    /// `DIR`, or `NAME=DIR` where there is no folder of such a name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // What no line of text holds, no picture does.
        let clean = |name: &str| name.replace(char::is_control, "\u{fffd}");
        match text.split_once('=') {
            Some((name, dir)) if !Path::new(text).exists() && !name.is_empty() => {
                Ok(Self { name: clean(name), dir: dir.into() })
            }
            _ => {
                let dir = PathBuf::from(text);
                // `.` and `..` are no names.
                let whole = dir.canonicalize().unwrap_or_else(|_| dir.clone());
                let name = whole.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
                Ok(Self { name: clean(&name), dir })
            }
        }
    }
}

impl Run {
    /// Reads both tables.
    pub(crate) fn open(RunArgument { name, dir }: &RunArgument) -> Result<Self, Error> {
        let read = |file: &Path| {
            let refuse = || {
                let file = file.display();
                let remedy = "a run is a folder that `vistok train --out` has written, of this version or a later one";
                Error::Refused(format!("{file} is not there: {remedy}"))
            };
            rows::text(file)?.ok_or_else(refuse)
        };
        let [steps, epochs] = [STEPS, EPOCHS].map(|name| dir.join(name));
        let rows: Vec<StepRow> = rows::parse(&steps, &read(&steps)?, STEPS_HEAD)?;
        if rows.is_empty() {
            return Err(Error::Refused(format!("{} has no step yet: let the run take some", steps.display())));
        }
        let text = read(&epochs)?;
        let heads = [Measure::Accuracy, Measure::MeanIou].map(|measure| (measure, epochs_head(measure)));
        // What is neither is refused as what is not the first.
        let known = heads.iter().find(|(_, head)| text.lines().next() == Some(head)).unwrap_or(&heads[0]);
        let passes = rows::parse(&epochs, &text, &known.1)?;
        Ok(Self { name: name.clone(), steps: rows, epochs: passes, measure: known.0 })
    }

    /// Several, each of a name of its own and scored alike.
    pub(crate) fn open_all(arguments: &[RunArgument]) -> Result<Vec<Self>, Error> {
        let runs = arguments.iter().map(Self::open).collect::<Result<Vec<_>, _>>()?;
        for (at, run) in runs.iter().enumerate() {
            if let Some(before) = runs[..at].iter().position(|other| other.name == run.name) {
                let [one, other] = [before, at].map(|at| arguments[at].dir.display());
                let name = &run.name;
                let remedy = format!("give one another name, as in first={one}");
                return Err(Error::Refused(format!("{one} and {other} are both called `{name}`: {remedy}")));
            }
            if run.measure != runs[0].measure {
                let [one, other] = [0, at].map(|at| &runs[at].name);
                let reason = "one run classifies and the other segments: plot them apart";
                return Err(Error::Refused(format!(
                    "`{one}` and `{other}` are scored by different measures: {reason}"
                )));
            }
        }
        Ok(runs)
    }

    /// Steps of a pass; `None` before the first has ended.
    pub(crate) fn pass(&self) -> Option<f64> {
        let first = self.epochs.first()?;
        Some(first.step as f64 / first.epoch.max(1) as f64)
    }
}
