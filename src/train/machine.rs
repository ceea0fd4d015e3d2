//! What of a machine a run's bits depend on.

use std::collections::HashSet;

use super::data::digest;
use crate::gpu::Device;
use crate::graph::{Graph, Node};
use crate::kernel::Capabilities;
use crate::kernel::tuning::Choices;
use crate::plan::Plan;

/// The tiles that graphs take on a machine because they were found fastest there.
pub(super) fn chosen(machine: &Capabilities, graphs: &[&Graph]) -> Choices {
    let Some(choices) = &machine.choices else { return Choices::default() };
    let asked = |graph: &Graph, node: &Node| {
        node.op.asked(&node.inputs.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<_>>())
    };
    let all: HashSet<String> =
        graphs.iter().flat_map(|graph| graph.nodes().iter().map(move |node| asked(graph, node))).collect();
    choices.only(|asked| all.contains(asked))
}

/// What a machine's bits depend on: adapter, driver, and the plan, which names every kernel and build.
pub(super) fn machine_line(device: &Device, plan: &Plan) -> String {
    format!("{}, plan {:016x}", device.machine(), digest(plan.to_string().bytes()))
}
