//! Nodes that lead to an output or to an update, in an order in which they can run.

use crate::graph::Graph;

/// The numbers of the nodes that are worth running; the others are dropped.
///
/// The order is the graph's own. It puts a backward pass behind its forward pass, and updates last.
pub(super) fn live(graph: &Graph) -> Vec<usize> {
    let mut wanted = vec![false; graph.values().count()];
    for (_, value) in graph.outputs() {
        wanted[value.index()] = true;
    }
    let mut nodes = Vec::new();
    for (at, node) in graph.nodes().iter().enumerate().rev() {
        if !node.op.updates().is_empty() || node.outputs.iter().any(|value| wanted[value.index()]) {
            for value in &node.inputs {
                wanted[value.index()] = true;
            }
            nodes.push(at);
        }
    }
    nodes.reverse();
    nodes
}
