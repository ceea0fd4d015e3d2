//! Nodes that lead to an output or to an update, in an order in which they can run.

use std::collections::HashMap;

use crate::graph::{Graph, Value};

/// The numbers of the nodes that are worth running; the others are dropped.
///
/// The order is the graph's own, but for updates: those run as soon as they can.
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
    updates_soon(graph, &nodes)
}

/// Moves nodes that only update to right behind the last node that they wait for: what makes their inputs, and what
/// reads the old numbers. A gradient then dies as soon as its weight has learned from it, and not after all others.
fn updates_soon(graph: &Graph, live: &[usize]) -> Vec<usize> {
    let mut roots: Vec<Value> = graph.values().collect();
    let mut made = vec![0; roots.len()];
    let mut last_read: HashMap<Value, usize> = HashMap::new();
    let mut keyed = Vec::with_capacity(live.len());
    for &at in live {
        let node = &graph.nodes()[at];
        if node.op.is_view() {
            roots[node.outputs[0].index()] = roots[node.inputs[0].index()];
        }
        let pairs = node.op.updates();
        let only_updates = !pairs.is_empty() && pairs.len() == node.outputs.len();
        let mut after = at;
        if only_updates {
            let makers = node.inputs.iter().map(|value| made[value.index()]);
            let old = pairs.iter().filter_map(|pair| node.inputs.get(pair.0));
            let readers = old.filter_map(|value| last_read.get(&roots[value.index()]).copied());
            after = makers.chain(readers).max().unwrap_or(at);
        }
        for value in &node.inputs {
            let read = last_read.entry(roots[value.index()]).or_default();
            *read = after.max(*read);
        }
        for value in &node.outputs {
            made[value.index()] = after;
        }
        keyed.push((after, only_updates, at));
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, _, at)| at).collect()
}
