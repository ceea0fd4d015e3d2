//! A whole graph's outputs against the f64 interpreter, and how far honest f32 would have been off there.

use std::collections::{HashMap, HashSet};

use super::CompareError;
use super::compare::{Worst, largest};
use super::tolerance::{Tolerance, honest_move};
use super::whole::{Leaf, OutputRow};
use crate::graph::{Graph, Node, Source, Tensor, Value, honest, round, run};
use crate::kernel::Elem;
use crate::reference::{Array, Random, Real};

/// What a run of a graph leaves behind: its outputs, and the stored tensors that it updates.
pub(super) fn left_behind(graph: &Graph) -> Vec<(String, Value)> {
    let mut left = graph.outputs().to_vec();
    for node in graph.nodes() {
        for (input, output) in node.op.updates() {
            let (before, after) = (node.inputs[input], node.outputs[output]);
            if let Source::Stored { home, name } = graph.source(before)
                && left.iter().all(|(_, known)| *known != after)
            {
                left.push((format!("{home} {name}"), after));
            }
        }
    }
    left
}

/// Judges what `read` finds of everything that a run leaves behind, by up to so many draws of the yardstick.
pub(super) fn judge(
    graph: &Graph,
    (leaf, draws): (Leaf<'_>, u64),
    read: &dyn Fn(Value) -> Result<Vec<f64>, CompareError>,
) -> Result<Vec<OutputRow>, CompareError> {
    let left = left_behind(graph);
    let wanted: Vec<Value> = left.iter().map(|(_, value)| *value).collect();
    let exact = |value: Value| round(&leaf(value, graph.source(value)), graph.tensor(value).elem);
    let mut truths: HashMap<Value, Array<f64>> = HashMap::new();
    let maths = |node: &Node, inputs: &[&Array<f64>]| run(&*node.op, inputs);
    interpret(
        graph,
        &wanted,
        exact,
        maths,
        |_, _, array| array,
        |value, array| drop(truths.insert(value, array.clone())),
    );
    let found = wanted.iter().map(|&value| read(value)).collect::<Result<Vec<_>, _>>()?;
    let sizes: Vec<f64> = wanted.iter().map(|value| largest(&truths[value])).collect();
    let mut yardsticks = vec![0.0f64; left.len()];
    let mut rows = Vec::new();
    for draw in 0..draws {
        for (most, error) in yardsticks.iter_mut().zip(honest_errors(graph, &wanted, &exact, &truths, draw)) {
            *most = most.max(error);
        }
        rows.clear();
        for (at, (name, value)) in left.iter().enumerate() {
            let (truth, elem) = (&truths[value], graph.tensor(*value).elem);
            let tolerance = Tolerance::new(yardsticks[at], sizes[at], elem, &[]);
            let worst = Worst::of(truth, &found[at], |truth| tolerance.allowed(truth, elem));
            let Worst { share, error, allowed, .. } = worst;
            rows.push(OutputRow { name: name.clone(), error, allowed, share });
        }
        if rows.iter().all(|row| row.share <= 1.0) {
            break;
        }
    }
    Ok(rows)
}

/// The largest error of f32 over each wanted value; from the second draw on, results are moved at random.
fn honest_errors(
    graph: &Graph,
    wanted: &[Value],
    exact: &dyn Fn(Value) -> Array<f64>,
    truths: &HashMap<Value, Array<f64>>,
    draw: u64,
) -> Vec<f64> {
    let settle = |node: &Node, value: Value, array: Array<f32>| {
        let elem = graph.tensor(value).elem;
        if draw == 0 || elem == Elem::U32 || node.op.is_view() {
            return round(&array, elem);
        }
        let mut random = Random::named(draw, &value.index().to_string());
        let most = honest_move(elem, node.op.functions());
        round(&array.moved(most, &mut random), elem)
    };
    let mut errors: HashMap<Value, f64> = HashMap::new();
    let take = |value: Value, array: &Array<f32>| {
        let pairs = array.data.iter().zip(&truths[&value].data);
        let finite = pairs.map(|(a, b)| (a.to_f64() - b).abs()).filter(|error| error.is_finite());
        errors.insert(value, finite.fold(0.0, f64::max));
    };
    let maths = |node: &Node, inputs: &[&Array<f32>]| {
        let outputs: Vec<Tensor> = node.outputs.iter().map(|&value| graph.tensor(value).clone()).collect();
        honest(&*node.op, inputs, &outputs)
    };
    interpret(graph, wanted, |value| exact(value).cast(), maths, settle, take);
    wanted.iter().map(|value| errors[value]).collect()
}

/// Computes what the wanted values depend on, by `maths`; each value goes through `settle` when made, and is dropped after its
/// last use.
fn interpret<T: Real>(
    graph: &Graph,
    wanted: &[Value],
    leaf: impl Fn(Value) -> Array<T>,
    maths: impl Fn(&Node, &[&Array<T>]) -> Vec<Array<T>>,
    settle: impl Fn(&Node, Value, Array<T>) -> Array<T>,
    mut take: impl FnMut(Value, &Array<T>),
) {
    let mut needed: HashSet<Value> = wanted.iter().copied().collect();
    let mut nodes: Vec<&Node> = Vec::new();
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|value| needed.contains(value)) {
            needed.extend(&node.inputs);
            nodes.push(node);
        }
    }
    nodes.reverse();
    let mut uses: HashMap<Value, usize> = HashMap::new();
    for value in nodes.iter().flat_map(|node| &node.inputs) {
        *uses.entry(*value).or_default() += 1;
    }
    for &value in wanted.iter().filter(|value| !matches!(graph.source(**value), Source::Node(..))) {
        take(value, &leaf(value));
    }
    let mut arrays: HashMap<Value, Array<T>> = HashMap::new();
    for node in nodes {
        for &value in &node.inputs {
            // What no node made is a leaf.
            arrays.entry(value).or_insert_with(|| leaf(value));
        }
        let outputs = maths(node, &node.inputs.iter().map(|value| &arrays[value]).collect::<Vec<_>>());
        for (&value, array) in node.outputs.iter().zip(outputs) {
            let array = settle(node, value, array);
            if wanted.contains(&value) {
                take(value, &array);
            }
            if uses.contains_key(&value) {
                arrays.insert(value, array);
            }
        }
        for value in &node.inputs {
            let left = uses.entry(*value).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                arrays.remove(value);
            }
        }
    }
}
