//! A program's graph against the same graph fused: what both make must be the same numbers, in f64.

use std::collections::HashMap;

use super::check::{Failure, Kind};
use super::{Built, Program};
use crate::graph::{Arrays, Graph, Source, Value, interpret};
use crate::verify::tolerance::COMPOSITION;

/// Fuses the graph and compares, where anything was fused.
pub(super) fn fusion(program: &Program, built: &Built, truth: &Arrays<f64>) -> Result<(), Failure> {
    let graph = &built.graph;
    let fused = graph.fused().map_err(|error| Failure::new(Kind::Fusion, error))?;
    let names = |graph: &Graph| graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>();
    if names(&fused.graph) == names(graph) {
        return Ok(());
    }
    let pairs: Vec<(Value, Value)> = graph.values().filter_map(|old| Some((old, fused.value(old)?))).collect();
    let old: HashMap<Value, Value> = pairs.iter().map(|&(old, new)| (new, old)).collect();
    let leaf = |new: Value, _: &Source| Ok::<_, std::convert::Infallible>(program.numbers(built, old[&new], 0));
    let Ok(numbers) = interpret(&fused.graph, leaf);
    for (old, new) in pairs {
        let (one, other) = (&truth[old.index()], &numbers[new.index()]);
        let largest = one.data.iter().fold(1.0f64, |largest, number| largest.max(number.abs()));
        let right = |(one, other): (&f64, &f64)| (one - other).abs() <= COMPOSITION * largest;
        if one.shape != other.shape || !one.data.iter().zip(&other.data).all(right) {
            let text = format!("v{} of the graph is another once it is fused", old.index());
            let op = match fused.graph.source(new) {
                Source::Node(node, _) => Some(fused.graph.nodes()[*node].op.name()),
                _ => None,
            };
            return Err(Failure { op, ..Failure::new(Kind::Fusion, text) });
        }
    }
    Ok(())
}
