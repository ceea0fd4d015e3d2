//! The same values by other ops, such as products in another order: a rewrite of the graph that asks its ops, since it knows none
//! of them.

use std::collections::{HashMap, HashSet};

use super::{Graph, GraphError, Node, Source, Value};

/// A graph that is being made again, as an op sees it that may be made otherwise ([`Op::regrouped`](super::Op::regrouped)).
#[derive(Debug)]
pub struct Regrouping<'a> {
    /// What has been made so far.
    pub graph: &'a mut Graph,
    /// How often each of its values is read, or wanted, in the graph that was.
    uses: &'a HashMap<Value, usize>,
    /// Stored values that something updates.
    updated: &'a HashSet<Value>,
    passed: &'a mut HashSet<Value>,
}

impl Regrouping<'_> {
    /// The node that makes a value which is read once and not wanted, where its inputs may be read later as well: nothing updates
    /// them.
    #[must_use]
    pub fn maker(&self, value: Value) -> Option<&Node> {
        let Source::Node(at, _) = *self.graph.source(value) else { return None };
        let node = &self.graph.nodes()[at];
        let once = self.uses.get(&value) == Some(&1);
        (once && !node.inputs.iter().any(|&input| self.is_updated(input))).then_some(node)
    }

    /// Whether a value, or what it is a view of, is stored and updated: read later, it might be another.
    #[must_use]
    pub fn is_updated(&self, value: Value) -> bool {
        self.updated.contains(&self.graph.seen_by(value))
    }

    /// A value that is not read any more; what makes it is left out, unless something else reads it.
    pub fn pass(&mut self, value: Value) {
        self.passed.insert(value);
    }
}

/// The graph made again.
pub(super) struct Regrouped {
    pub(super) graph: Graph,
    /// Where each value of the old graph went.
    pub(super) values: HashMap<Value, Value>,
    /// Values that were passed by.
    pub(super) passed: HashSet<Value>,
}

impl Graph {
    /// The graph with the nodes made otherwise whose ops know how ([`Op::regrouped`](super::Op::regrouped)); those that are passed by
    /// still stand. `wanted`: values that are needed beside the outputs.
    pub(super) fn regrouped(&self, wanted: &[Value]) -> Result<Regrouped, GraphError> {
        let mut made = Regrouped { graph: Self::new(), values: HashMap::new(), passed: HashSet::new() };
        made.values = self.leaves_in(&mut made.graph)?;
        let mut counts = self.uses();
        wanted.iter().for_each(|&value| *counts.entry(value).or_default() += 1);
        let pairs =
            self.nodes().iter().flat_map(|node| node.op.updates().into_iter().map(move |pair| node.inputs[pair.0]));
        let updated = pairs.filter_map(|old| made.values.get(&self.seen_by(old)).copied()).collect();
        let mut uses: HashMap<Value, usize> = HashMap::new();
        for node in self.nodes() {
            let inputs: Vec<Value> = node.inputs.iter().map(|old| made.values[old]).collect();
            let outputs = made.graph.scoped(node.scope.clone(), |graph| {
                let regrouping = &mut Regrouping { graph, uses: &uses, updated: &updated, passed: &mut made.passed };
                let otherwise = node.op.regrouped(&inputs, regrouping)?;
                // What is not the same tensors is a fault of the op, and not taken.
                let same = |outputs: &Vec<Value>| {
                    let tensors = outputs.iter().map(|&new| graph.tensor(new));
                    tensors.eq(node.outputs.iter().map(|&old| self.tensor(old)))
                };
                match otherwise.filter(same) {
                    Some(outputs) => Ok(outputs),
                    None => graph.apply_shared(node.op.clone(), &inputs),
                }
            })?;
            for (&old, new) in node.outputs.iter().zip(outputs) {
                *uses.entry(new).or_default() += counts.get(&old).copied().unwrap_or(0);
                made.values.insert(old, new);
            }
        }
        for (name, old) in self.outputs() {
            made.graph.output(name, made.values[old]);
        }
        Ok(made)
    }

    /// Adds the inputs and stored values of this graph to another: where each of them went.
    pub(super) fn leaves_in(&self, graph: &mut Self) -> Result<HashMap<Value, Value>, GraphError> {
        let mut leaves = HashMap::new();
        for old in self.values() {
            let tensor = self.tensor(old).clone();
            let new = match self.source(old) {
                Source::Input(name) => graph.input(name, tensor),
                Source::Stored { home, name } => graph.stored(home, name, tensor)?,
                Source::Node(..) => continue,
            };
            leaves.insert(old, new);
        }
        Ok(leaves)
    }

    /// The value that a view looks at, or the value itself.
    fn seen_by(&self, mut value: Value) -> Value {
        while let Source::Node(at, _) = *self.source(value)
            && self.nodes()[at].op.is_view()
        {
            value = self.nodes()[at].inputs[0];
        }
        value
    }

    /// How often each value is read, or wanted after a run.
    pub(super) fn uses(&self) -> HashMap<Value, usize> {
        let mut uses = HashMap::new();
        let read = self.nodes().iter().flat_map(|node| &node.inputs);
        read.chain(self.outputs().iter().map(|(_, value)| value))
            .for_each(|&value| *uses.entry(value).or_default() += 1);
        uses
    }
}
