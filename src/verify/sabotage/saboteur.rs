//! Runs mutants of kernels and asks the comparison whether it notices.

use std::collections::HashMap;

use super::mutants::Mutant;
use super::trials::{Files, Index, files, sabotaged};
use crate::gpu::{Checks, Device, Error, OpenOptions, Pipelines};
use crate::graph::{Case, GraphError};
use crate::kernel::{Capabilities, ComposeError, Recording, Reflection, compose};
use crate::verify::expected::{Expected, Truths};
use crate::verify::interface::InterfaceFault;

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The comparison noticed; where, and what it said.
    Noticed(String),
    /// The device was lost over it, or over one before it: only a new device can tell.
    Lost(String),
    /// It does not compile.
    Refused(String),
    /// So many runs, and none that noticed.
    Survived(usize),
    /// No run of this machine is built of its file.
    Unreached,
}

/// Why a mutant cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum SabotageError {
    /// The kernel fails as it is: then nothing that is noticed means anything.
    #[error("unchanged, {run} fails: {fault}")]
    Unchanged {
        /// The run.
        run: String,
        /// What is wrong.
        fault: String,
    },
    /// The files cannot be put together.
    #[error(transparent)]
    Files(#[from] InterfaceFault),
    /// A build cannot be put together.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The machine refused.
    #[error(transparent)]
    Gpu(#[from] Error),
}

/// A machine, and the runs by which it judges mutants.
pub struct Saboteur {
    device: Device,
    pipelines: Pipelines,
    cases: Vec<Case>,
    index: Index,
    files: Files,
    expected: HashMap<usize, (Expected, Recording)>,
}

/// What a judge is about to do: whatever happens while a mutant runs is the mutant's doing, and nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Truths are worked out, and unchanged kernels are run.
    Preparing,
    /// A mutant is built and run.
    Running,
}

/// Runs that a mutant must survive, unless it is said otherwise; of builds and shapes there is no end.
pub const RUNS: usize = 1024;
/// Builds that must refuse a mutant before it counts as one that does not compile.
const REFUSALS: usize = 6;

impl Saboteur {
    /// Opens a device for these cases; by every engine that it has.
    ///
    /// # Errors
    /// When no device can be opened, or a case's shapes do not fit.
    pub fn open(adapter: Option<&str>, cases: Vec<Case>) -> Result<Self, SabotageError> {
        let options = OpenOptions { adapter: adapter.map(str::to_owned), checks: Checks::Off, scalar: false };
        let device = Device::open(&options)?;
        let mut machines = vec![device.capabilities().scalar()];
        if device.capabilities().fragment.is_some() {
            machines.push(device.capabilities().clone());
        }
        // On the CPU small tiles are taken and sums are not split; a GPU's choices run there too, if slowly.
        machines.extend(
            machines
                .clone()
                .into_iter()
                .filter(|machine| machine.software)
                .map(|machine| Capabilities { software: false, ..machine }),
        );
        let index = Index::of(&cases, &machines)?;
        let files = files(&cases)?;
        let pipelines = Pipelines::new(&device, None);
        Ok(Self { device, pipelines, cases, index, files, expected: HashMap::new() })
    }

    /// Name and driver of the adapter, and its engines.
    #[must_use]
    pub fn machine(&self) -> String {
        let info = self.device.info();
        let engines = if self.device.capabilities().fragment.is_some() { "scalar, cooperative" } else { "scalar" };
        format!("{}, {} {} ({engines})", info.name, info.driver, info.driver_info)
    }

    /// Runs a mutant until a comparison notices it or it has survived `most` runs (of every kind of build one, then of
    /// every kind another), telling what it is about to do.
    ///
    /// # Errors
    /// When an unchanged kernel fails, or cannot be prepared.
    pub fn judge(
        &mut self,
        mutant: &Mutant,
        most: usize,
        mut tell: impl FnMut(Phase),
    ) -> Result<Outcome, SabotageError> {
        let Some(text) = self.files.text(mutant.file) else { return Ok(Outcome::Unreached) };
        let changed = (mutant.file, &*mutant.apply(text).leak());
        let trials = self.index.trials_of(mutant.file)?;
        if trials.is_empty() {
            return Ok(Outcome::Unreached);
        }
        let pipelines = Pipelines::new(&self.device, None);
        let mut leaked = HashMap::new();
        let (mut refused, mut runs): (Vec<String>, usize) = (Vec::new(), 0);
        for &at in &trials {
            if runs >= most || (runs == 0 && refused.len() >= REFUSALS) {
                break;
            }
            tell(Phase::Preparing);
            self.prepare(at)?;
            tell(Phase::Running);
            let (expected, recording) = &self.expected[&at];
            let (recording, builds) = match sabotaged(recording, changed, &mut leaked) {
                Ok(both) => both,
                Err(error) => {
                    refused.push(error.to_string());
                    continue;
                }
            };
            let reads = |(kernel, variant)| match compose(kernel, variant) {
                Err(error) => Some(error.to_string()),
                Ok(text) => Reflection::of(&text).err(),
            };
            if let Some(reason) = builds.iter().find_map(|(kernel, variant)| reads((*kernel, variant))) {
                refused.push(reason);
                continue;
            }
            let fault = match expected.compare(&self.device, &pipelines, &recording) {
                Err(Error::Pipeline { reason, .. }) => {
                    refused.push(reason);
                    continue;
                }
                // The machine's trouble, and no verdict.
                Err(error @ Error::OutOfMemory { .. }) => return Err(error.into()),
                Err(error @ Error::Lost { .. }) => return Ok(Outcome::Lost(error.to_string())),
                Err(error) => Some(error.to_string()),
                Ok(rows) => rows.into_iter().find_map(|row| row.fault),
            };
            runs += 1;
            if let Some(fault) = fault {
                let fault = fault.lines().next().unwrap_or_default().to_owned();
                return Ok(Outcome::Noticed(format!("{}: {fault}", self.run(at))));
            }
        }
        // What compiles in one build and not in another is noticed too, by whoever builds the other.
        Ok(match refused.pop() {
            Some(reason) => Outcome::Refused(reason.lines().next().unwrap_or_default().to_owned()),
            None => Outcome::Survived(runs),
        })
    }

    /// Works out what a trial must give, and sees that the unchanged kernels give it.
    fn prepare(&mut self, at: usize) -> Result<(), SabotageError> {
        if self.expected.contains_key(&at) {
            return Ok(());
        }
        let trial = &self.index.trials[at];
        let truths = Truths::new(&self.cases[trial.case], trial.elem)?;
        let expected = truths.node(trial.node).expect("trials are made of nodes that run kernels");
        let recording = expected.recording(&trial.machine);
        let rows = expected.compare(&self.device, &self.pipelines, &recording)?;
        if let Some(fault) = rows.into_iter().find_map(|row| row.fault) {
            return Err(SabotageError::Unchanged { run: self.run(at), fault });
        }
        self.expected.insert(at, (expected, recording));
        Ok(())
    }

    fn run(&self, at: usize) -> String {
        let trial = &self.index.trials[at];
        format!("{} {} node {}", self.cases[trial.case].name(), trial.elem, trial.node)
    }
}
