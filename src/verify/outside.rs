//! How much is computed for a file from outside.

use crate::graph::{Graph, Tensor, Value};

/// The most numbers of all values of the graph together, those of the gradients included.
const MOST_NUMBERS: usize = 1 << 25;
/// The most rounds of the plainest loops: a minute or so of the interpreter.
const MOST_WORK: u64 = 1 << 32;

/// Whether so many runs of a graph are more than is done for a file: then in words what is too much.
pub(super) fn check_size(graph: &Graph, runs: u64) -> Result<(), String> {
    let count = |value: Value| graph.tensor(value).shape.count();
    let numbers = graph.values().map(count).fold(0, usize::saturating_add);
    if numbers > MOST_NUMBERS {
        return Err(format!("{numbers} numbers with all that is computed on the way; {MOST_NUMBERS} may be"));
    }
    let tensors =
        |values: &[Value]| -> Vec<Tensor> { values.iter().map(|&value| graph.tensor(value).clone()).collect() };
    let work = graph
        .nodes()
        .iter()
        .fold(0, |work: u64, node| work.saturating_add(node.op.work(&tensors(&node.inputs), &tensors(&node.outputs))));
    let work = work.saturating_mul(runs);
    match work > MOST_WORK {
        true => Err(format!("about {work} multiply-adds; {MOST_WORK} may be")),
        false => Ok(()),
    }
}
