//! Products taken in another order: a rewrite of the graph that asks its ops, since it knows none of them.

use std::collections::{HashMap, HashSet};

use super::{Graph, GraphError, Node, Source, Value};

/// A graph that is being made again, as an op sees it that may be made otherwise ([`Op::regrouped`](super::Op::regrouped)).
#[derive(Debug)]
pub struct Regrouping<'a> {
    /// What has been made so far.
    pub graph: &'a mut Graph,
    /// How often each of its values is read, or wanted, in the graph that was.
    uses: &'a HashMap<Value, usize>,
    passed: &'a mut HashSet<Value>,
}

impl Regrouping<'_> {
    /// The node that makes a value which is read once, and no output.
    #[must_use]
    pub fn maker(&self, value: Value) -> Option<&Node> {
        let Source::Node(at, _) = *self.graph.source(value) else { return None };
        (self.uses.get(&value) == Some(&1)).then(|| &self.graph.nodes()[at])
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
    /// The graph with the nodes made otherwise whose ops know another order ([`Op::regrouped`](super::Op::regrouped)); those that are passed by still stand.
    pub(super) fn regrouped(&self) -> Result<Regrouped, GraphError> {
        let mut made = Regrouped { graph: Self::new(), values: HashMap::new(), passed: HashSet::new() };
        for old in self.values() {
            let tensor = self.tensor(old).clone();
            let new = match self.source(old) {
                Source::Input(name) => made.graph.input(name, tensor),
                Source::Stored { home, name } => made.graph.stored(home, name, tensor)?,
                Source::Node(..) => continue,
            };
            made.values.insert(old, new);
        }
        let counts = self.uses();
        let mut uses = HashMap::new();
        for node in self.nodes() {
            let inputs: Vec<Value> = node.inputs.iter().map(|old| made.values[old]).collect();
            let outputs = made.graph.scoped(node.scope.clone(), |graph| {
                let regrouping = &mut Regrouping { graph, uses: &uses, passed: &mut made.passed };
                match node.op.regrouped(&inputs, regrouping)? {
                    Some(outputs) => Ok(outputs),
                    None => graph.apply_shared(node.op.clone(), &inputs),
                }
            })?;
            for (&old, new) in node.outputs.iter().zip(outputs) {
                uses.insert(new, counts.get(&old).copied().unwrap_or(0));
                made.values.insert(old, new);
            }
        }
        for (name, old) in self.outputs() {
            made.graph.output(name, made.values[old]);
        }
        Ok(made)
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
