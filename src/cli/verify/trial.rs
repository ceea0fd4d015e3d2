//! The trials of `vistok verify`: a case, an element type and an engine each; which there are, and running them.

use std::collections::HashMap;
use std::sync::OnceLock;

use rayon::prelude::*;
use vistok::gpu::{self, Checks, Device, OpenOptions, Pipelines};
use vistok::graph::Case;
use vistok::kernel::{Capabilities, Elem, Fragment, Recording};
use vistok::ops;
use vistok::verify::{CompareError, Row, compare, recordings, uses_fragments};

use crate::cli::Error;
use crate::cli::progress::Progress;

/// How kernels are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Engine {
    Scalar,
    ScalarChecked,
    Cooperative,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Scalar, Self::ScalarChecked, Self::Cooperative];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Scalar | Self::ScalarChecked => "scalar",
            Self::Cooperative => "cooperative",
        }
    }

    /// Whether modules carry runtime checks.
    pub(super) const fn checked(self) -> bool {
        matches!(self, Self::ScalarChecked)
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::ScalarChecked => "scalar, checked",
            Self::Cooperative => "cooperative",
        }
    }
}

/// How much is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Quick,
    Small,
    Full,
}

/// A device for one engine.
pub(super) struct Bench {
    pub(super) device: Device,
    pipelines: Pipelines,
    engine: Engine,
    /// Why nothing more can be run on it.
    lost: OnceLock<String>,
}

/// One case, in one element type, by one engine.
pub(super) struct Trial {
    pub(super) case: Case,
    pub(super) elem: Elem,
    pub(super) engine: Engine,
    kernels: Vec<&'static str>,
    /// Why it cannot be run here, or nothing.
    reason: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    Failed,
    NotRun,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
        }
    }
}

/// What came of a trial, for one output of one node.
pub(super) struct Verdict {
    /// The trial, by its number.
    pub(super) trial: usize,
    pub(super) op: &'static str,
    pub(super) kernels: Vec<&'static str>,
    pub(super) shapes: String,
    pub(super) output: Option<usize>,
    pub(super) status: Status,
    pub(super) error: Option<f64>,
    pub(super) allowed: Option<f64>,
    /// The worst error as a share of what is allowed there.
    pub(super) share: Option<f64>,
    pub(super) reason: Option<String>,
}

/// A kernel is reached by this many cases of `--quick`, in each element type and by each engine.
const FEW: usize = 2;
/// Numbers of a case that `--quick` takes first: large enough for several tiles, small enough for the CPU.
const QUICK: usize = 20_000;

/// A device for each engine that the adapter has. They are not tried beforehand: that is what trials are for.
pub(super) fn open(adapter: Option<&str>) -> Result<Vec<Bench>, Error> {
    let mut benches = Vec::new();
    for engine in Engine::ALL {
        let checks = if engine.checked() { Checks::On } else { Checks::Off };
        let scalar = engine != Engine::Cooperative;
        let device = Device::open(&OpenOptions { adapter: adapter.map(str::to_owned), checks, scalar })?;
        if engine == Engine::Cooperative && device.capabilities().fragment.is_none() {
            continue;
        }
        let pipelines = Pipelines::new(&device, None);
        benches.push(Bench { device, pipelines, engine, lost: OnceLock::new() });
    }
    Ok(benches)
}

/// Every trial of this scope that the filter lets through, those that cannot be run here among them.
pub(super) fn all(benches: &[Bench], scope: Scope, filter: Option<&str>) -> Result<Vec<Trial>, Error> {
    let mut cases = ops::cases();
    cases.retain(|case| scope == Scope::Full || case.real.is_none());
    if scope == Scope::Quick {
        let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
        cases.sort_by_key(|case| (size(case) > QUICK, size(case).abs_diff(QUICK)));
    }
    let (mut trials, mut count) = (Vec::new(), 0);
    for engine in Engine::ALL {
        let mut reached: HashMap<(&str, Elem), usize> = HashMap::new();
        for case in &cases {
            for elem in [Elem::F32, Elem::F16] {
                let Some(trial) = trial(benches, case, elem, engine)? else { continue };
                count += 1;
                let text =
                    format!("{} {} {elem} {} {}", case.op.name(), trial.kernels.join(" "), engine.label(), case.name());
                if !filter.is_none_or(|filter| text.contains(filter)) {
                    continue;
                }
                let few = |kernel: &&str| reached.get(&(*kernel, elem)).is_none_or(|&cases| cases < FEW);
                if scope == Scope::Quick && !trial.kernels.iter().any(few) {
                    continue;
                }
                for &kernel in &trial.kernels {
                    *reached.entry((kernel, elem)).or_default() += 1;
                }
                trials.push(trial);
            }
        }
    }
    match (trials.is_empty(), filter) {
        (true, Some(filter)) => {
            Err(Error::Filter { filter: filter.to_owned(), count, what: "cases", command: "verify" })
        }
        _ => Ok(trials),
    }
}

/// A case by an engine; nothing where it runs no kernel, or none that this engine would run differently.
fn trial(benches: &[Bench], case: &Case, elem: Elem, engine: Engine) -> Result<Option<Trial>, Error> {
    let bench = benches.iter().find(|bench| bench.engine == engine);
    // Where there is no such engine, what a machine that has it would run says what is left out.
    let imagined = Capabilities {
        fragment: Some(Fragment::Sixteen),
        subgroup: Some(32),
        max_workgroup_bytes: 48 << 10,
        ..Capabilities::portable()
    };
    let capabilities = bench.map_or(&imagined, |bench| bench.device.capabilities());
    let mut recordings = recordings(case, elem, capabilities)?;
    if engine == Engine::Cooperative {
        recordings.retain(uses_fragments);
    }
    let mut kernels: Vec<&str> =
        recordings.iter().flat_map(|all: &Recording| &all.dispatches).map(|one| one.kernel.name).collect();
    kernels.sort_unstable();
    kernels.dedup();
    if kernels.is_empty() {
        return Ok(None);
    }
    let reason = match capabilities {
        _ if bench.is_none() => Some("the adapter has no cooperative matrices of f16"),
        offers if elem == Elem::F16 && !offers.f16 => Some("the adapter has no f16"),
        offers if case.real.is_some() && offers.software => {
            Some("shapes of real models are for GPUs; this adapter computes on the CPU")
        }
        _ => None,
    };
    Ok(Some(Trial { case: case.clone(), elem, engine, kernels, reason }))
}

/// Runs the trials; those on small shapes several at once.
pub(super) fn run(benches: &[Bench], trials: &[Trial]) -> Vec<Verdict> {
    let progress = Progress::new("verifying", 0, trials.len() as u64);
    let one = |(number, trial): (usize, &Trial)| {
        let verdicts = verdicts(benches, number, trial);
        progress.advance(&format!("{} {} {}", trial.case.op.name(), trial.elem, trial.engine.label()));
        verdicts
    };
    // The CPU's side of a real shape takes gigabytes: one after another.
    let numbered = || trials.iter().enumerate();
    let small: Vec<_> = numbered().filter(|(_, trial)| trial.case.real.is_none()).collect();
    let mut all: Vec<Verdict> = small.into_par_iter().flat_map_iter(one).collect();
    all.extend(numbered().filter(|(_, trial)| trial.case.real.is_some()).flat_map(one));
    progress.finish();
    all
}

fn verdicts(benches: &[Bench], number: usize, trial: &Trial) -> Vec<Verdict> {
    let whole = |status, reason: String| Verdict {
        trial: number,
        op: trial.case.op.name(),
        kernels: trial.kernels.clone(),
        shapes: String::new(),
        output: None,
        status,
        error: None,
        allowed: None,
        share: None,
        reason: Some(reason),
    };
    if let Some(reason) = trial.reason {
        return vec![whole(Status::NotRun, reason.to_owned())];
    }
    let Some(bench) = benches.iter().find(|bench| bench.engine == trial.engine) else { return Vec::new() };
    if let Some(reason) = bench.lost.get() {
        return vec![whole(Status::NotRun, reason.clone())];
    }
    match compare(&bench.device, &bench.pipelines, &trial.case, trial.elem) {
        Err(error) => {
            if let CompareError::Gpu(gpu::Error::Lost { .. }) = error {
                let reason = format!("the device was lost before ({})", crate::cli::error::one_line(&error));
                // Another thread may have noticed first.
                let _ = bench.lost.set(reason);
            }
            vec![whole(Status::Failed, error.to_string())]
        }
        Ok(rows) => {
            let rows = rows.into_iter().filter(|row| trial.engine != Engine::Cooperative || row.cooperative);
            rows.map(|row| verdict(number, row)).collect()
        }
    }
}

fn verdict(trial: usize, row: Row) -> Verdict {
    Verdict {
        trial,
        op: row.op,
        kernels: row.kernels,
        shapes: row.shapes,
        output: Some(row.output),
        status: if row.fault.is_none() { Status::Passed } else { Status::Failed },
        error: Some(row.error),
        allowed: Some(row.allowed),
        share: Some(row.worst),
        reason: row.fault,
    }
}
