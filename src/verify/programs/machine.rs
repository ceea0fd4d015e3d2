//! What is demanded of a program on a GPU: kernels as their maths, the same bits whatever memory is reused.

use super::{Built, Failure, Kind, Program};
use crate::gpu::{Device, Error, Executor, Homes, Pipelines};
use crate::graph::Source;
use crate::kernel::Elem;
use crate::plan::{Layout, Options, Plan};
use crate::verify::compare::encode;

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
    /// Checks a program, and says how many nodes ran.
    pub(super) fn check(&self, program: &Program, built: &Built) -> Result<usize, Failure> {
        let machine = |error: Error| Failure::new(Kind::Machine, error);
        let reusing = self.executor(built, true)?;
        let (first, again) = twice(&reusing, program, built).map_err(machine)?;
        if let Some(what) = unequal(built, &reusing, &first, &again) {
            return Err(Failure::new(Kind::Repeat, format!("{what} has other bits in a second run")));
        }
        let keeping = self.executor(built, false)?;
        let (kept, _) = twice(&keeping, program, built).map_err(machine)?;
        if let Some(what) = unequal(built, &reusing, &first, &kept) {
            return Err(Failure::new(Kind::Reuse, format!("{what} has other bits where memory is reused")));
        }
        Ok(reusing.plan().nodes().len())
    }

    fn executor(&self, built: &Built, reuse: bool) -> Result<Executor, Failure> {
        let plan = |error| Failure::new(Kind::Plan, error);
        let machine = |error: Error| Failure::new(Kind::Machine, error);
        let capabilities = self.device.capabilities();
        let layout = Layout::of(&[&built.graph], capabilities.offset_alignment).map_err(plan)?;
        let made = Plan::new(&built.graph, &layout, capabilities, Options { reuse }).map_err(plan)?;
        let homes = Homes::new(self.device, &layout).map_err(machine)?;
        Executor::new(self.device, self.pipelines, made, &homes).map_err(machine)
    }
}

/// What two runs leave behind that start from the same numbers.
fn twice(executor: &Executor, program: &Program, built: &Built) -> Result<(Left, Left), Error> {
    let run = || {
        upload(executor, program, built)?;
        executor.run()?;
        left(executor, built)
    };
    Ok((run()?, run()?))
}

fn upload(executor: &Executor, program: &Program, built: &Built) -> Result<(), Error> {
    for value in built.graph.values() {
        let elem = built.graph.tensor(value).elem;
        let numbers = || program.numbers(built, value, 0);
        match built.graph.source(value) {
            Source::Input(name) if elem == Elem::U32 => {
                executor.write_u32(name, &numbers().data.iter().map(|&number| number as u32).collect::<Vec<_>>())?;
            }
            Source::Input(name) => {
                executor.write_f32(name, &numbers().data.iter().map(|&number| number as f32).collect::<Vec<_>>())?;
            }
            Source::Stored { home, name } => executor.homes().write_bytes(home, name, &encode(&numbers(), elem))?,
            Source::Node(..) => {}
        }
    }
    Ok(())
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
