//! Recordings → steps: every binding gets its place, and WebGPU's limits are held to.

use super::error::Remedy;
use super::memory::{binding_bytes, label, round_up};
use super::parts::{Part, Recorded};
use super::plan::{Buffer, Place, Step};
use super::{Layout, PlanError};
use crate::graph::{Graph, Node, Source, Tensor, Value};
use crate::kernel::{Access, Capabilities, Dispatch, Elem, Grid, Recording, View};

/// WebGPU's limit on workgroups along one dimension of a dispatch.
const MAX_GROUPS: u32 = 65_535;

/// The storage bindings that WebGPU promises to a kernel.
const MAX_BINDINGS: usize = 8;

/// Refuses values that the machine cannot compute with, or that no buffer of it can hold; stored ones larger than a binding,
/// too. Whether nodes can do with a binding that is smaller than their values, recording them shows.
pub(super) fn check_values(graph: &Graph, live: &[usize], machine: &Capabilities) -> Result<(), PlanError> {
    let binding = ("binding", machine.max_binding_bytes);
    let buffer = ("buffer", machine.max_buffer_bytes.max(machine.max_binding_bytes));
    let check = |what: &dyn Fn() -> String, value: Value, (unit, limit): (&'static str, usize)| {
        let tensor = graph.tensor(value);
        if tensor.elem == Elem::F16 && !machine.f16 {
            return Err(PlanError::NoF16 { what: what(), tensor: tensor.clone() });
        }
        let bytes = binding_bytes(tensor);
        if bytes <= limit {
            return Ok(());
        }
        let remedy = Remedy::of(tensor.shape.first().copied().unwrap_or(1), bytes, limit);
        Err(PlanError::TooLarge { what: what(), tensor: tensor.clone(), bytes, unit, limit, remedy })
    };
    for value in graph.values() {
        match graph.source(value) {
            Source::Input(name) => check(&|| format!("input `{name}`"), value, buffer)?,
            Source::Stored { home, name } => check(&|| format!("{home} `{name}`"), value, binding)?,
            Source::Node(..) => {}
        }
    }
    for node in live.iter().map(|&at| &graph.nodes()[at]) {
        for &value in &node.outputs {
            check(&|| format!("{}: its output", label(node)), value, buffer)?;
        }
    }
    Ok(())
}

/// Refuses calls that WebGPU would refuse, or that contradict themselves.
pub(super) fn check_recording(
    node: &Node,
    recording: &Recording,
    outputs: &[Tensor],
    machine: &Capabilities,
) -> Result<(), PlanError> {
    let limit = machine.max_binding_bytes;
    if let Some(&bytes) = recording.scratch.iter().find(|&&bytes| round_up(bytes) > limit) {
        let first = outputs[0].shape.first().copied().unwrap_or(1);
        let remedy = Remedy::of(first, bytes, limit);
        return Err(PlanError::ScratchTooLarge { what: label(node), bytes, limit, remedy });
    }
    for Dispatch { kernel, params, views, grid: Grid(grid), .. } in &recording.dispatches {
        let (what, name) = (label(node), kernel.name);
        if grid.iter().any(|groups| !(1..=MAX_GROUPS).contains(groups)) {
            return Err(PlanError::Grid { what, kernel: name, grid: *grid });
        }
        if kernel.bindings.len() > MAX_BINDINGS {
            return Err(PlanError::Bindings { what, kernel: name, count: kernel.bindings.len() });
        }
        let (bindings, words) = (kernel.bindings.len(), kernel.params.len());
        if (views.len(), params.len()) != (bindings, words) {
            let given = format!("{} bindings and {} parameters", views.len(), params.len());
            let problem = format!("{name} takes {bindings} bindings and {words} parameters and was given {given}");
            return Err(PlanError::Fault { what, problem });
        }
    }
    Ok(())
}

/// A node's recording, and the places that are given to it.
pub(super) struct Given<'a> {
    /// The node's number among those that run.
    pub(super) number: usize,
    /// The node.
    pub(super) node: &'a Node,
    /// What it recorded.
    pub(super) recorded: &'a Recorded,
    /// Where every value is.
    pub(super) places: &'a [Option<Place>],
    /// Where the node's scratch memory is.
    pub(super) scratch: Vec<Place>,
    /// The homes, for messages.
    pub(super) layout: &'a Layout,
}

/// The steps of a node.
pub(super) fn place(given: &Given<'_>) -> Result<Vec<Step>, PlanError> {
    let calls =
        given.recorded.parts.iter().flat_map(|part| part.recording.dispatches.iter().map(move |call| (part, call)));
    calls.map(|(part, dispatch)| step(given, part, dispatch)).collect()
}

fn step(given: &Given<'_>, part: &Part, dispatch: &Dispatch) -> Result<Step, PlanError> {
    let mut bindings = Vec::with_capacity(dispatch.views.len());
    let mut values = Vec::with_capacity(dispatch.views.len());
    for view in &dispatch.views {
        let value = match *view {
            View::Input(at) => given.recorded.inputs.get(at).copied(),
            View::Output(at) => given.node.outputs.get(at).copied(),
            View::Scratch(_) => None,
        };
        let piece = match *view {
            View::Input(at) => part.inputs.get(at),
            View::Output(at) => part.outputs.get(at),
            View::Scratch(_) => None,
        };
        let place = match *view {
            View::Scratch(at) => given.scratch.get(at).copied(),
            _ => value.and_then(|value| given.places[value.index()]).zip(piece).map(|(place, piece)| Place {
                offset: place.offset + piece.offset,
                bytes: piece.bytes,
                ..place
            }),
        };
        let Some(place) = place else {
            let problem = format!("{} binds {view:?}, which it does not have", dispatch.kernel.name);
            return Err(PlanError::Fault { what: label(given.node), problem });
        };
        bindings.push(place);
        values.push(value);
    }
    let uses = || bindings.iter().zip(dispatch.kernel.bindings);
    let written = |buffer| uses().any(|(place, (_, access))| place.buffer == buffer && *access == Access::Write);
    let mut read = uses().filter(|(_, (_, access))| *access == Access::Read);
    if let Some((place, _)) = read.find(|(place, _)| written(place.buffer)) {
        let buffer = match place.buffer {
            Buffer::Home(at) => format!("the home `{}`", given.layout.homes()[at].name),
            Buffer::Slot(at) => format!("slot {at}"),
            Buffer::Input(at) => format!("input {at}"),
        };
        return Err(PlanError::Conflict { what: label(given.node), kernel: dispatch.kernel.name, buffer });
    }
    Ok(Step {
        node: given.number,
        kernel: dispatch.kernel,
        variant: dispatch.variant.clone(),
        params: dispatch.params.clone(),
        bindings,
        values,
        grid: dispatch.grid,
    })
}
