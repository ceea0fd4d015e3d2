//! Every way of changing one thing of a gradient rule: an input of one of its nodes, or a value that it makes.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Arrays, Case, Graph, Source, Value, run};
use crate::kernel::Elem;
use crate::reference::Array;
use crate::verify::gradient::{Derived, GradientFault};
use crate::verify::record::with_gradients;

/// A gradient rule with one thing changed, judged by all cases of its op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMutant {
    /// `op | where | what`: the rule's nodes are counted from 1, the op itself being node 0.
    pub name: String,
    /// The case that noticed, or nothing where all of them took the change for right.
    pub noticed: Option<String>,
    /// How many cases have such a place.
    pub cases: usize,
}

/// One change of one graph.
#[derive(Clone, Debug)]
enum Change {
    /// An input of a node is another value.
    Input { node: usize, at: usize, other: Value },
    /// An input of a node is all ones.
    Ones { node: usize, at: usize },
    /// A value is so many times what it was.
    Times { value: Value, factor: f64 },
    /// A value is another one, of which it was made.
    Replaced { value: Value, other: Value },
    /// The gradients of two inputs, exchanged.
    Exchanged(usize, usize),
}

/// Changes every gradient rule of these cases in every way, and asks the gradient check whether it notices.
///
/// # Errors
/// When a rule is wrong as it stands.
pub fn rule_mutants(cases: &[Case], seed: u64) -> Result<Vec<RuleMutant>, GradientFault> {
    let mut all: BTreeMap<String, RuleMutant> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.has_gradient) {
        let derived = Derived::of(case, seed)?;
        derived.judge(&derived.arrays, &derived.grads)?;
        for (what, change) in changes(&derived.graph, &derived.grads) {
            let name = format!("{} | {what}", rule(case));
            let mutant = all.entry(name.clone()).or_insert(RuleMutant { name, noticed: None, cases: 0 });
            mutant.cases += 1;
            if mutant.noticed.is_none() && !survives(&derived, &change) {
                mutant.noticed = Some(case.name());
            }
        }
    }
    Ok(all.into_values().collect())
}

/// The names of every mutant of these cases' rules, which are not run.
///
/// # Errors
/// When a graph refuses.
pub fn rule_names(cases: &[Case]) -> Result<BTreeSet<String>, GradientFault> {
    let mut all = BTreeSet::new();
    for case in cases.iter().filter(|case| case.has_gradient) {
        let (graph, grads) = with_gradients(case, Elem::F32)?;
        all.extend(changes(&graph, &grads).into_iter().map(|(what, _)| format!("{} | {what}", rule(case))));
    }
    Ok(all)
}

/// The rule that a case tries: ops that are several functions have several.
fn rule(case: &Case) -> String {
    let op = format!("{:?}", case.op);
    let function = op.split([' ', '(', '{']).next().unwrap_or_default();
    format!("{} {function}", case.op.name())
}

fn survives(derived: &Derived, change: &Change) -> bool {
    let mut grads = derived.grads.clone();
    if let Change::Exchanged(one, other) = *change {
        grads.swap(one, other);
    }
    derived.judge(&changed(derived, change), &grads).is_ok()
}

/// Every value of the graph, computed with the change.
fn changed(derived: &Derived, change: &Change) -> Arrays<f64> {
    let mut arrays = derived.arrays.clone();
    for (number, node) in derived.graph.nodes().iter().enumerate().skip(1) {
        let ones;
        let mut inputs: Vec<&Array<f64>> = node.inputs.iter().map(|value| &arrays[value.index()]).collect();
        match *change {
            Change::Input { node, at, other } if node == number => inputs[at] = &arrays[other.index()],
            Change::Ones { node, at } if node == number => {
                ones = inputs[at].map(|_| 1.0);
                inputs[at] = &ones;
            }
            _ => {}
        }
        let outputs = run(&*node.op, &inputs);
        for (&value, array) in node.outputs.iter().zip(outputs) {
            arrays[value.index()] = match *change {
                Change::Times { value: changed, factor } if changed == value => array.map(|number| factor * number),
                Change::Replaced { value: changed, other } if changed == value => arrays[other.index()].clone(),
                _ => array,
            };
        }
    }
    arrays
}

/// Every change of the nodes that the rule added, with its name.
fn changes(graph: &Graph, grads: &[Option<Value>]) -> Vec<(String, Change)> {
    let mut all = Vec::new();
    let like = |value: Value, other: Value| other != value && graph.tensor(other) == graph.tensor(value);
    for (node, added) in graph.nodes().iter().enumerate().skip(1) {
        let at_node = format!("node {node} {}", added.op.name());
        for (at, &input) in added.inputs.iter().enumerate() {
            let earlier = graph.values().take_while(|value| *value < added.outputs[0]);
            for other in earlier.filter(|other| like(input, *other)) {
                let what = format!("{at_node} | input {at}: {} → {}", role(graph, input), role(graph, other));
                all.push((what, Change::Input { node, at, other }));
            }
            let what = format!("{at_node} | input {at}: {} → ones", role(graph, input));
            all.push((what, Change::Ones { node, at }));
        }
        let read = |value: &Value| {
            grads.contains(&Some(*value)) || graph.nodes().iter().any(|node| node.inputs.contains(value))
        };
        for (at, &value) in added.outputs.iter().enumerate().filter(|(_, value)| read(value)) {
            for (by, factor) in [("negated", -1.0), ("halved", 0.5), ("zero", 0.0)] {
                all.push((format!("{at_node} | output {at} {by}"), Change::Times { value, factor }));
            }
            for &other in added.inputs.iter().filter(|other| like(value, **other)) {
                let what = format!("{at_node} | output {at} → {}", role(graph, other));
                all.push((what, Change::Replaced { value, other }));
            }
        }
    }
    for one in 0..grads.len() {
        for other in one + 1..grads.len() {
            if let (Some(a), Some(b)) = (grads[one], grads[other])
                && like(a, b)
            {
                all.push((format!("gradients {one} and {other} exchanged"), Change::Exchanged(one, other)));
            }
        }
    }
    all
}

/// What a value is to the rule, in words that hold for every shape.
fn role(graph: &Graph, value: Value) -> String {
    match graph.source(value) {
        Source::Input(name) | Source::Stored { name, .. } => name.clone(),
        Source::Node(node, output) => format!("node {node}.{output}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Add, MatMul};

    #[test]
    fn a_product_rule_has_no_place_where_a_change_passes() {
        let cases = [Case::new(MatMul::new(), &[&[3, 3], &[3, 3]])];
        let all = rule_mutants(&cases, 7).expect("the rule is right");
        let survivors: Vec<&str> =
            all.iter().filter(|mutant| mutant.noticed.is_none()).map(|mutant| mutant.name.as_str()).collect();
        assert!(all.len() > 20 && survivors.is_empty(), "{} made, {survivors:?} survived", all.len());
    }

    #[test]
    fn a_change_that_changes_nothing_survives() {
        let derived = Derived::of(&Case::new(Add, &[&[4], &[4]]), 7).expect("has a gradient");
        // Both gradients of a sum are its own: exchanging them is no change.
        assert!(survives(&derived, &Change::Exchanged(0, 1)));
    }
}
