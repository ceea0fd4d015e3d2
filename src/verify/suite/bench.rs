//! Devices on which questions are asked: one for each way of running kernels, so that a lost one takes no other along.

use std::sync::OnceLock;

use super::{Outcome, Question, Scope, Status, Trial, Way, questions};
use crate::gpu::{Device, Error, Pipelines};
use crate::graph::GraphError;
use crate::verify::expected::{Expected, Truths};

/// A device for one way.
struct Stand {
    way: Way,
    device: Device,
    pipelines: Pipelines,
    /// Why nothing more can be run on it.
    lost: OnceLock<String>,
}

/// Devices of one adapter.
pub struct Bench {
    stands: Vec<Stand>,
}

impl Bench {
    /// A device for each way that the adapter has; [`OpenOptions`](crate::gpu::OpenOptions) says how it is named. They
    /// are not tried beforehand: that is what trials are for.
    ///
    /// # Errors
    /// When there is no such adapter, or its driver refuses.
    pub fn open(adapter: Option<&str>) -> Result<Self, Error> {
        let mut stands = Vec::new();
        for way in Way::ALL {
            let device = Device::open(&way.options(adapter))?;
            if way.of(device.capabilities()).is_none() {
                continue;
            }
            let pipelines = Pipelines::new(&device, None);
            stands.push(Stand { way, device, pipelines, lost: OnceLock::new() });
        }
        Ok(Self { stands })
    }

    /// The device with most to offer: the cooperative one where there is one.
    #[must_use]
    pub fn device(&self) -> &Device {
        let all = || self.stands.iter();
        let best = all().find(|stand| stand.way.cooperative).or_else(|| all().next());
        &best.expect("the scalar ways exist on every machine").device
    }

    /// The questions of this scope for these devices; see [`questions`].
    ///
    /// # Errors
    /// When a case does not fit its op.
    pub fn questions(&self, scope: Scope, filter: Option<&str>) -> Result<Vec<Question>, GraphError> {
        questions(self.device().capabilities(), scope, filter)
    }

    /// Asks a question in all its ways, node by node: each node's truth serves every trial and is then forgotten.
    #[must_use]
    pub fn ask(&self, question: &Question) -> Vec<Outcome> {
        let mut truths = match Truths::new(&question.case, question.elem) {
            Ok(truths) => truths,
            Err(error) => {
                let failed = |trial| Outcome::whole(question, trial, Status::Failed, error.to_string());
                return question.trials.iter().map(failed).collect();
            }
        };
        let mut running = Vec::new();
        let mut outcomes: Vec<Vec<Outcome>> = Vec::new();
        for trial in &question.trials {
            let run = self.start(trial);
            let refused =
                run.as_ref().err().map(|reason| Outcome::whole(question, trial, Status::NotRun, reason.clone()));
            outcomes.push(refused.into_iter().collect());
            running.push(run.ok());
        }
        let mut known = truths.next();
        while let (Some(expected), true) = (known.take(), running.iter().any(Option::is_some)) {
            let try_all = || {
                for ((trial, run), outcomes) in question.trials.iter().zip(&mut running).zip(&mut outcomes) {
                    let _ = run.take_if(|run| !run.node(question, trial, &expected, outcomes));
                }
            };
            // The CPU works out the next node while the GPU is at this one.
            known = rayon::join(|| truths.next(), try_all).0;
        }
        for (trial, outcomes) in question.trials.iter().zip(&mut outcomes) {
            something_was_compared(question, trial, outcomes);
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Runs one trial of a question, for those who want them one at a time: the truth is kept with the question.
    ///
    /// Not for rayon's threads, which would wait here for a truth that they are working out themselves.
    #[must_use]
    pub fn try_one(&self, question: &Question, trial: &Trial) -> Vec<Outcome> {
        let whole = |status, reason: &str| vec![Outcome::whole(question, trial, status, reason.to_owned())];
        let mut run = match self.start(trial) {
            Ok(run) => run,
            Err(reason) => return whole(Status::NotRun, &reason),
        };
        let known = question.known.get_or_init(|| {
            Ok(Truths::new(&question.case, question.elem).map_err(|error| error.to_string())?.collect())
        });
        let nodes = match known {
            Ok(nodes) => nodes,
            Err(reason) => return whole(Status::Failed, reason),
        };
        let mut outcomes = Vec::new();
        let _ = nodes.iter().all(|expected| run.node(question, trial, expected, &mut outcomes));
        something_was_compared(question, trial, &mut outcomes);
        outcomes
    }

    /// The device for a trial, or why it is not run.
    fn start(&self, trial: &Trial) -> Result<Run<'_>, String> {
        if let Some(obstacle) = &trial.obstacle {
            return Err(obstacle.clone());
        }
        let stand = self.stands.iter().find(|stand| stand.way == trial.way);
        let stand = stand.ok_or_else(|| format!("no device was opened for `{}`", trial.way.label()))?;
        if let Some(reason) = stand.lost.get() {
            return Err(reason.clone());
        }
        let mut device = stand.device.clone();
        if let Some(tiles) = trial.tiles {
            device.force_tiles(tiles);
        }
        Ok(Run { stand, device })
    }
}

/// A trial of which nothing was compared has not passed.
fn something_was_compared(question: &Question, trial: &Trial, outcomes: &mut Vec<Outcome>) {
    if outcomes.is_empty() {
        outcomes.push(Outcome::whole(question, trial, Status::Failed, "nothing was compared".to_owned()));
    }
}

/// A trial under way.
struct Run<'a> {
    stand: &'a Stand,
    device: Device,
}

impl Run<'_> {
    /// Compares a node; whether the next can be compared too.
    fn node(&mut self, question: &Question, trial: &Trial, expected: &Expected, outcomes: &mut Vec<Outcome>) -> bool {
        let recording = expected.recording(self.device.capabilities());
        match expected.compare(&self.device, &self.stand.pipelines, &recording) {
            Ok(rows) => {
                let rows = rows.into_iter().filter(|row| !trial.way.cooperative || row.cooperative);
                outcomes.extend(rows.map(|row| Outcome::of(question, trial, row)));
                true
            }
            Err(error) => {
                let mut status = Status::Failed;
                match &error {
                    // The machine is too small for it, which says nothing about the kernel.
                    Error::OutOfMemory { .. } => status = Status::NotRun,
                    Error::Lost { .. } => {
                        // Another thread may have noticed first.
                        let _ = self.stand.lost.set(format!("the device was lost before ({error})"));
                    }
                    _ => {}
                }
                outcomes.push(Outcome::whole(question, trial, status, error.to_string()));
                false
            }
        }
    }
}
