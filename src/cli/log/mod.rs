//! The log of a run, in its folder: `steps.csv`, `epochs.csv`, and event files for TensorBoard.
//!
//! Rows are written whole and at once; when a run goes on, those beyond its weights are cut off, so that in the end the log is that of
//! a run that was never interrupted, but for the times.

mod events;
mod rows;
#[cfg(feature = "plot")]
mod run;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use events::Events;
pub(crate) use rows::{EPOCHS, EpochRow, Measure, STEPS, StepRow};
use rows::{Row, STEPS_HEAD, epochs_head};
#[cfg(feature = "plot")]
pub(crate) use run::{Run, RunArgument};

use super::folder::Folder;
use super::{Error, speak};

/// The folder of TensorBoard's files in that of a run.
const TENSORBOARD: &str = "tensorboard";

/// A log that was not written: which file, and why.
#[derive(Debug)]
pub(crate) struct Unwritten {
    pub(crate) file: PathBuf,
    pub(crate) source: io::Error,
}

/// A table under way.
struct Table {
    path: PathBuf,
    file: File,
}

/// The log of a run that is under way.
pub(crate) struct Log {
    steps: Table,
    epochs: Table,
    events: Option<(PathBuf, Events)>,
    measure: Measure,
    /// The pass that is under way, and the losses of its steps so far.
    losses: (u64, Vec<f32>),
    /// The step of the last pass that has a row.
    noted: u64,
    /// Seconds of training before this process.
    before: f64,
}

/// Where a run stands.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    /// Steps done.
    pub(crate) step: u64,
    /// Steps of a pass.
    pub(crate) pass: u64,
}

impl Log {
    /// Begins the log of a run, or goes on with it where the run stands.
    pub(crate) fn open(folder: &Folder, measure: Measure, at: Stand, tensorboard: bool) -> Result<Self, Error> {
        let (steps, rows) = Table::open::<StepRow>(folder, (STEPS, STEPS_HEAD), at.step)?;
        let (epochs, passes) = Table::open::<EpochRow>(folder, (EPOCHS, &epochs_head(measure)), at.step)?;
        let last = rows.last().map_or(0, |row| row.step);
        if last < at.step {
            let file = steps.path.display();
            speak::note(&format!("{file} lacks the steps from {} to {}; it goes on after them", last + 1, at.step));
        }
        let events = match tensorboard {
            false => None,
            true => {
                let path = folder.file(TENSORBOARD);
                let events = Events::begin(&path, at.step).map_err(|source| refused(path.clone(), source))?;
                Some((path, events))
            }
        };
        let epoch = at.step.div_ceil(at.pass);
        let losses = rows.iter().filter(|row| row.epoch == epoch).map(|row| row.loss).collect();
        Ok(Self {
            steps,
            epochs,
            events,
            measure,
            losses: (epoch, losses),
            noted: passes.last().map_or(0, |row| row.step),
            before: rows.last().map_or(0.0, Row::seconds),
        })
    }

    /// All rows of the log in this folder, which has one.
    pub(crate) fn rows(folder: &Folder, measure: Measure) -> Result<(Vec<StepRow>, Vec<EpochRow>), Error> {
        let [steps, epochs] = [STEPS, EPOCHS].map(|name| folder.file(name));
        let [step_text, epoch_text] = [&steps, &epochs].map(|path| rows::text(path));
        let step_rows = rows::parse(&steps, &step_text?.unwrap_or_default(), STEPS_HEAD)?;
        Ok((step_rows, rows::parse(&epochs, &epoch_text?.unwrap_or_default(), &epochs_head(measure))?))
    }

    /// Whether the pass that ended with this step has no row yet.
    pub(crate) fn lacks(&self, step: u64) -> bool {
        self.noted < step
    }

    /// Adds a step; its seconds are those of this process.
    pub(crate) fn step(&mut self, mut row: StepRow) -> Result<(), Unwritten> {
        if self.losses.0 != row.epoch {
            self.losses = (row.epoch, Vec::new());
        }
        self.losses.1.push(row.loss);
        row.seconds += self.before;
        self.steps.write(&row)?;
        self.scalars(row.step, &[("train/loss", row.loss.into()), ("train/rate", row.rate.into())])
    }

    /// Adds a pass, scored or not; the mean loss of it.
    pub(crate) fn epoch(
        &mut self,
        epoch: u64,
        (step, seconds): (u64, f64),
        score: Option<f64>,
    ) -> Result<f64, Unwritten> {
        let losses = &self.losses.1;
        let loss = losses.iter().copied().map(f64::from).sum::<f64>() / losses.len().max(1) as f64;
        self.noted = step;
        self.epochs.write(&EpochRow { epoch, step, loss, score, seconds: seconds + self.before })?;
        let key = self.measure.key().replacen('_', "/", 1);
        let mut numbers = vec![("train/mean_loss", loss)];
        numbers.extend(score.map(|score| (key.as_str(), score)));
        self.scalars(step, &numbers)?;
        Ok(loss)
    }

    fn scalars(&mut self, step: u64, numbers: &[(&str, f64)]) -> Result<(), Unwritten> {
        let Some((path, events)) = &mut self.events else { return Ok(()) };
        events.scalars(step, numbers).map_err(|source| Unwritten { file: path.clone(), source })
    }

    /// Puts what was written on the disk: before weights are that say that these steps were done.
    pub(crate) fn sync(&self) -> Result<(), Unwritten> {
        self.steps.sync()?;
        self.epochs.sync()?;
        let Some((path, events)) = &self.events else { return Ok(()) };
        events.sync().map_err(|source| Unwritten { file: path.clone(), source })
    }
}

fn refused(path: PathBuf, source: io::Error) -> Error {
    let remedy = "is there room, and may you write there?";
    Error::File { path: path.display().to_string(), source, remedy }
}

impl Table {
    /// Opens a table for the rows after `step`, and says the rows until then. Of a run that begins there are none, whatever another
    /// that left no weights has written.
    fn open<R: Row>(folder: &Folder, (name, head): (&str, &str), step: u64) -> Result<(Self, Vec<R>), Error> {
        let path = folder.file(name);
        let text = if step > 0 { rows::text(&path)? } else { None };
        let mut rows = text.as_deref().map_or(Ok(Vec::new()), |text| rows::parse::<R>(&path, text, head))?;
        rows.retain(|row| row.step() <= step);
        let kept = format!("{head}\n") + &rows.iter().map(Row::line).collect::<String>();
        if text.as_deref() != Some(&kept) {
            folder.write(name, kept.as_bytes())?;
        }
        let file = fs::OpenOptions::new().append(true).open(&path).map_err(|source| refused(path.clone(), source))?;
        Ok((Self { path, file }, rows))
    }

    fn write(&mut self, row: &impl Row) -> Result<(), Unwritten> {
        // One call a row: a process that is killed leaves none in part.
        self.file.write_all(row.line().as_bytes()).map_err(|source| Unwritten { file: self.path.clone(), source })
    }

    fn sync(&self) -> Result<(), Unwritten> {
        self.file.sync_data().map_err(|source| Unwritten { file: self.path.clone(), source })
    }
}
