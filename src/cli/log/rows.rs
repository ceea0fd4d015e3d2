//! The two tables of a run as text: a line a step and a line a pass, read strictly.

use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::{fs, io};

use crate::cli::Error;

/// The table of steps in the folder of a run.
pub(crate) const STEPS: &str = "steps.csv";
/// The table of passes over the training images.
pub(crate) const EPOCHS: &str = "epochs.csv";

/// What the test images say of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The share of images that are put into the right class.
    Accuracy,
    /// The mean intersection over union of classes.
    MeanIou,
}

impl Measure {
    /// Its column.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Accuracy => "test_accuracy",
            Self::MeanIou => "test_mean_iou",
        }
    }
}

/// What a step leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepRow {
    /// Steps done.
    pub(crate) step: u64,
    /// The pass that the step belonged to, from 1.
    pub(crate) epoch: u64,
    pub(crate) loss: f32,
    pub(crate) rate: f32,
    /// Of training since the run began, without the time of scoring.
    pub(crate) seconds: f64,
}

/// What a pass leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EpochRow {
    /// Passes done.
    pub(crate) epoch: u64,
    /// Steps done.
    pub(crate) step: u64,
    /// The mean over the pass.
    pub(crate) loss: f64,
    /// Where the pass was scored.
    pub(crate) score: Option<f64>,
    pub(crate) seconds: f64,
}

/// A line of five cells.
pub(crate) trait Row: Sized {
    /// The cells in the order of the head.
    fn line(&self) -> String;

    /// The row that has these cells.
    fn parse(cells: [&str; 5]) -> Option<Self>;

    /// Steps done.
    fn step(&self) -> u64;

    fn seconds(&self) -> f64;
}

/// A number that is one.
fn number<T: FromStr + Into<f64> + Copy>(cell: &str) -> Option<T> {
    cell.parse().ok().filter(|&number: &T| number.into().is_finite())
}

impl Row for StepRow {
    fn line(&self) -> String {
        let Self { step, epoch, loss, rate, seconds } = self;
        format!("{step},{epoch},{loss},{rate},{seconds:.3}\n")
    }

    fn parse([step, epoch, loss, rate, seconds]: [&str; 5]) -> Option<Self> {
        Some(Self {
            step: step.parse().ok()?,
            epoch: epoch.parse().ok()?,
            loss: number(loss)?,
            rate: number(rate)?,
            seconds: number(seconds)?,
        })
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }
}

impl Row for EpochRow {
    fn line(&self) -> String {
        let Self { epoch, step, loss, score, seconds } = self;
        let mut line = format!("{epoch},{step},{loss},");
        if let Some(score) = score {
            // Text takes any number.
            let _ = write!(line, "{score}");
        }
        format!("{line},{seconds:.3}\n")
    }

    fn parse([epoch, step, loss, score, seconds]: [&str; 5]) -> Option<Self> {
        Some(Self {
            epoch: epoch.parse().ok()?,
            step: step.parse().ok()?,
            loss: number(loss)?,
            score: if score.is_empty() { None } else { Some(number(score)?) },
            seconds: number(seconds)?,
        })
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }
}

/// The first line of the table of steps.
pub(crate) const STEPS_HEAD: &str = "step,epoch,loss,rate,seconds";

/// The first line of the table of passes.
pub(crate) fn epochs_head(measure: Measure) -> String {
    format!("epoch,step,loss,{},seconds", measure.key())
}

/// The rows of a table under this head.
///
/// What follows the last line break is the line that a process was killed over, and is no row.
pub(crate) fn parse<R: Row>(file: &Path, text: &str, head: &str) -> Result<Vec<R>, Error> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let refuse = |at: usize, line: &str, problem: &str| {
        let (file, at) = (file.display(), at + 1);
        let line: String = line.chars().take(60).collect();
        Err(Error::Refused(format!("{file}, line {at}: `{line}` {problem}")))
    };
    let mut rows: Vec<R> = Vec::new();
    for (at, line) in whole.split('\n').enumerate() {
        if at == 0 {
            if line != head {
                return refuse(at, line, &format!("is not `{head}`: was the file written by `vistok train`?"));
            }
            continue;
        }
        let cells: Vec<&str> = line.split(',').collect();
        let row = cells.try_into().ok().and_then(R::parse);
        match row {
            Some(row) if rows.last().is_none_or(|last| last.step() < row.step()) => rows.push(row),
            Some(_) => return refuse(at, line, "comes after a later step: remove one of them"),
            None => return refuse(at, line, &format!("is no row of `{head}`: mend or remove it")),
        }
    }
    Ok(rows)
}

/// The text of a table, and bytes that are none as signs that no row has; `None` where there is no file.
pub(crate) fn text(file: &Path) -> Result<Option<String>, Error> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let remedy = "may you read it?";
            Err(Error::File { path: file.display().to_string(), source, remedy })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "step,epoch,loss,rate,seconds\n1,1,2.25,0.01,0.500\n";

    #[test]
    fn rows_are_read_as_they_were_written() -> Result<(), Error> {
        let head = epochs_head(Measure::MeanIou);
        for score in [None, Some(0.1 + 0.2)] {
            let row = EpochRow { epoch: 1, step: 7, loss: 2.0 / 3.0, score, seconds: 1.5 };
            assert_eq!(parse::<EpochRow>(Path::new("x"), &format!("{head}\n{}", row.line()), &head)?, [row]);
        }
        let row = StepRow { step: 2, epoch: 1, loss: 0.1, rate: 1e-9, seconds: 2.0 };
        assert_eq!(parse::<StepRow>(Path::new("x"), &format!("{FIRST}{}", row.line()), STEPS_HEAD)?[1], row);
        Ok(())
    }

    #[test]
    fn a_line_without_its_end_is_none_and_others_are_refused_by_number() -> Result<(), Error> {
        let read = |more: &str| parse::<StepRow>(Path::new("x.csv"), &format!("{FIRST}{more}"), STEPS_HEAD);
        for half in ["", "2", "2,1,2.2", "2,1,2.25,0.01,0.7", "?"] {
            assert_eq!(read(half)?.len(), 1, "{half}");
        }
        for bad in
            ["2,1,2.2\n", "2,1,NaN,0.01,0.7\n", "2,1,inf,0.01,0.7\n", "2,1,2.2,0.01,0.7,1\n", "\n", "1,1,2,0,0\n"]
        {
            let said = read(bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with("x.csv, line 3: `"), "{bad}: {said}");
        }
        let other = parse::<StepRow>(Path::new("x.csv"), FIRST, "step").err().map(|error| error.to_string());
        assert!(other.is_some_and(|said| said.contains("line 1") && said.contains("vistok train")));
        Ok(())
    }
}
