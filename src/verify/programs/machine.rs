//! What is demanded of a program on a GPU: kernels as their maths, the same bits whatever memory is reused.

use super::{Built, Failure, Kind, Program};
use crate::gpu::{Device, Error, Executor, Homes, Pipelines};
use crate::graph::{Source, Value};
use crate::plan::{Layout, Options, Plan, PlanError};
use crate::verify::whole::upload;
use crate::verify::{Cause, CompareError, compare_whole, record, uses_fragments};

/// A GPU that programs are checked on.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its pipelines; programs share many.
    pub pipelines: &'a Pipelines,
}

/// The bytes that a run leaves behind: those of every output, and those of the homes.
type Left = (Vec<Vec<u8>>, Vec<Vec<u8>>);

impl Machine<'_> {
    /// Checks a program, and says how many nodes ran. `remade` is the same with values made again for the backward pass.
    pub(super) fn check(&self, program: &Program, built: &Built, remade: Option<&Built>) -> Result<usize, Failure> {
        let reusing = self.executor(built, true)?;
        let (first, again) = twice(&reusing, program, built).map_err(failure)?;
        if let Some(what) = unequal(built, &reusing, &first, &again) {
            return Err(Failure::new(Kind::Repeat, format!("{what} has other bits in a second run")));
        }
        let keeping = self.executor(built, false)?;
        let (kept, _) = twice(&keeping, program, built).map_err(failure)?;
        if let Some(what) = unequal(built, &reusing, &first, &kept) {
            return Err(Failure::new(Kind::Reuse, format!("{what} has other bits where memory is reused")));
        }
        if let Some(remade) = remade {
            let (made, _) = twice(&self.executor(remade, true)?, program, remade).map_err(failure)?;
            if let Some(what) = unequal(built, &reusing, &first, &made) {
                return Err(Failure::new(Kind::Again, format!("{what} has other bits where values are made again")));
            }
        }
        self.judge(program, built)
    }

    /// Every node against its maths, on what the GPU gave it; and everything that is left behind against the maths of
    /// the whole.
    fn judge(&self, program: &Program, built: &Built) -> Result<usize, Failure> {
        let leaf = |value: Value, _: &Source| program.numbers(built, value, 0);
        let whole = compare_whole(self.device, self.pipelines, &built.graph, &leaf, Options::default());
        let whole = whole.map_err(failure)?;
        let Some(first) = &whole.first else {
            return match whole.fault() {
                None => Ok(whole.nodes),
                Some(text) => Err(Failure::new(Kind::EndToEnd, text)),
            };
        };
        let kind = match first.cause {
            Cause::Maths => Kind::Kernel,
            Cause::Overwrites => Kind::Reuse,
            Cause::Together => Kind::Repeat,
        };
        Err(Failure { op: Some(first.op), ..Failure::new(kind, first) })
    }

    /// Whether any of its nodes would multiply cooperative matrices.
    pub(super) fn uses_fragments(&self, built: &Built) -> bool {
        let nodes = built.graph.nodes().iter();
        let machine = self.device.capabilities();
        machine.fragment.is_some()
            && nodes.map(|node| record(&built.graph, node, machine).0).any(|all| uses_fragments(&all))
    }

    fn executor(&self, built: &Built, reuse: bool) -> Result<Executor, Failure> {
        let plan = |error: PlanError| failure(error.into());
        let machine = |error: Error| failure(error.into());
        let capabilities = self.device.capabilities();
        let layout = Layout::of(&[&built.graph], capabilities.offset_alignment).map_err(plan)?;
        let made = Plan::new(&built.graph, &layout, capabilities, Options { reuse, rows: reuse }).map_err(plan)?;
        let homes = Homes::new(self.device, &layout).map_err(machine)?;
        Executor::new(self.device, self.pipelines, made, &homes).map_err(machine)
    }
}

/// An error as a failure: only of a machine that is gone, or full, the program says nothing.
fn failure(error: CompareError) -> Failure {
    let kind = match &error {
        CompareError::Graph(_) => Kind::Build,
        CompareError::Plan(_) => Kind::Plan,
        CompareError::Gpu(Error::Lost { .. } | Error::OutOfMemory { .. }) => Kind::Machine,
        CompareError::Gpu(_) => Kind::Kernel,
    };
    Failure::new(kind, error)
}

/// What two runs leave behind that start from the same numbers.
fn twice(executor: &Executor, program: &Program, built: &Built) -> Result<(Left, Left), CompareError> {
    let leaf = |value: Value, _: &Source| program.numbers(built, value, 0);
    let run = || {
        upload(executor, &built.graph, &leaf)?;
        executor.run()?;
        Ok::<_, CompareError>(left(executor, built)?)
    };
    Ok((run()?, run()?))
}

fn left(executor: &Executor, built: &Built) -> Result<Left, Error> {
    let outputs = executor.plan().outputs().iter().map(|output| executor.read_bytes(output.value));
    let outputs = outputs.collect::<Result<_, _>>()?;
    let stored = built.graph.values().filter_map(|value| match built.graph.source(value) {
        Source::Stored { home, name } => Some(executor.homes().read_bytes(home, name)),
        _ => None,
    });
    Ok((outputs, stored.collect::<Result<_, _>>()?))
}

/// The first output or stored tensor that has other bits, by name.
fn unequal(built: &Built, executor: &Executor, one: &Left, other: &Left) -> Option<String> {
    let outputs = executor.plan().outputs().iter().map(|output| format!("output `{}`", output.name));
    let stored = built.graph.values().filter_map(|value| match built.graph.source(value) {
        Source::Stored { home, name } => Some(format!("{home} `{name}`")),
        _ => None,
    });
    let all = outputs.zip(one.0.iter().zip(&other.0)).chain(stored.zip(one.1.iter().zip(&other.1)));
    let mut differing = all.filter(|(_, (one, other))| one != other).map(|(name, _)| name);
    differing.next()
}
