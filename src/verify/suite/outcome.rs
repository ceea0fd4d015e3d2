//! What came of a trial, for one output of one node.

use super::{Question, Trial};
use crate::verify::Row;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Compared, and within what is allowed.
    Passed,
    /// Compared and wrong, or it could not be run though it should have been.
    Failed,
    /// The machine cannot do it, or was lost before; the reason is given.
    NotRun,
}

impl Status {
    /// As JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
        }
    }
}

/// What came of a trial, for one output of one node; or for all of it, where nothing was compared.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The trial's name.
    pub name: String,
    /// The case's.
    pub case: String,
    /// The model and layer whose shape the case is.
    pub real: Option<&'static str>,
    /// What the case's tensors hold.
    pub elem: crate::kernel::Elem,
    /// The way of running kernels, and the tiles they had to take.
    pub trial: Trial,
    /// The op; of a comparison the node's, which may be a gradient's.
    pub op: &'static str,
    /// How it ended.
    pub status: Status,
    /// What the comparison found; nothing where there was none.
    pub row: Option<Row>,
    /// Why it did not pass.
    pub reason: Option<String>,
}

impl Outcome {
    fn new(question: &Question, trial: &Trial, status: Status) -> Self {
        Self {
            name: question.name(trial),
            case: question.case.name(),
            real: question.case.real,
            elem: question.elem,
            trial: trial.clone(),
            op: question.case.op.name(),
            status,
            row: None,
            reason: None,
        }
    }

    pub(super) fn whole(question: &Question, trial: &Trial, status: Status, reason: String) -> Self {
        Self { reason: Some(reason), ..Self::new(question, trial, status) }
    }

    pub(super) fn of(question: &Question, trial: &Trial, row: Row) -> Self {
        let status = if row.fault.is_none() { Status::Passed } else { Status::Failed };
        let (op, reason) = (row.op, row.fault.clone());
        Self { op, reason, row: Some(row), ..Self::new(question, trial, status) }
    }

    /// The kernels that computed it.
    #[must_use]
    pub fn kernels(&self) -> &[&'static str] {
        self.row.as_ref().map_or(&self.trial.kernels, |row| &row.kernels)
    }
}
