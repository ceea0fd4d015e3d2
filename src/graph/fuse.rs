//! Neighbours done at once: a rewrite of the graph that asks its ops, since it knows none of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::regroup::Regrouped;
use super::{Graph, GraphError, Node, Op, Tensor, Value};

/// A graph rewritten.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The new graph, with the inputs, stored values and outputs of the old one.
    pub graph: Graph,
    /// Where each value of the old graph went.
    values: HashMap<Value, Value>,
}

impl Fused {
    /// The value of the new graph for one of the old; `None` for those that are no longer made.
    #[must_use]
    pub fn value(&self, old: Value) -> Option<Value> {
        self.values.get(&old).copied()
    }

    /// As of the graph before that was regrouped.
    fn behind(self, regrouped: &Regrouped) -> Self {
        let values = regrouped.values.iter().filter_map(|(&old, new)| Some((old, self.value(*new)?))).collect();
        Self { values, ..self }
    }
}

impl Graph {
    /// The graph with every node made otherwise for which [`Op::regrouped`] knows how, then every pair of nodes made one for
    /// which [`Op::then`] has an op, again and again.
    ///
    /// The first of a pair must be read by the second alone, and be no output. Gradients are those of the ops that
    /// remain: a graph that trains is fused before its gradients are taken. Convolutions behind which statistics are
    /// fixed (with an eps) become an op for evaluation, which has none; take gradients of such a graph first.
    ///
    /// # Errors
    /// When a shape rule refuses what it took before: a fault of the op.
    pub fn fused(&self) -> Result<Fused, GraphError> {
        let regrouped = self.regrouped(&[])?;
        Ok(Pairs::of(&regrouped).fused()?.behind(&regrouped))
    }

    /// [`fused`](Self::fused), as far as these values, outputs and updates depend on it; no other node is left.
    ///
    /// # Errors
    /// As [`fused`](Self::fused).
    pub fn fused_for(&self, wanted: &[Value]) -> Result<Fused, GraphError> {
        let regrouped = self.regrouped(wanted)?;
        let mut pairs = Pairs::of(&regrouped);
        pairs.keep_only(wanted.iter().map(|old| regrouped.values[old]));
        Ok(pairs.fused()?.behind(&regrouped))
    }
}

/// The nodes as far as they were fused: one that was taken into a later one leaves its place empty.
struct Pairs<'a> {
    graph: &'a Graph,
    nodes: Vec<Option<Node>>,
    /// Which node makes a value.
    maker: HashMap<Value, usize>,
    /// How often a value is read, or wanted after a run.
    uses: HashMap<Value, usize>,
}

impl<'a> Pairs<'a> {
    fn of(regrouped: &'a Regrouped) -> Self {
        let graph = &regrouped.graph;
        let nodes: Vec<Option<Node>> = graph.nodes().iter().cloned().map(Some).collect();
        let makes = |(at, node): (usize, &'a Node)| node.outputs.iter().map(move |&value| (value, at));
        let maker = graph.nodes().iter().enumerate().flat_map(makes).collect();
        let mut pairs = Self { graph, nodes, maker, uses: graph.uses() };
        pairs.drop_unread(|node| node.outputs.iter().any(|value| regrouped.passed.contains(value)));
        pairs
    }

    fn fused(mut self) -> Result<Fused, GraphError> {
        for at in 0..self.nodes.len() {
            while self.merge(at) {}
        }
        let mut fused = Fused { graph: Graph::new(), values: HashMap::new() };
        fused.values = self.graph.leaves_in(&mut fused.graph)?;
        for node in self.nodes.into_iter().flatten() {
            let inputs: Vec<Value> = node.inputs.iter().map(|old| fused.values[old]).collect();
            let made = fused.graph.scoped(node.scope, |graph| graph.apply_shared(node.op, &inputs))?;
            fused.values.extend(node.outputs.into_iter().zip(made));
        }
        for (name, old) in self.graph.outputs() {
            fused.graph.output(name, fused.values[old]);
        }
        Ok(fused)
    }

    /// Takes a node that node `at` reads into it, if there is one that can be.
    fn merge(&mut self, at: usize) -> bool {
        let Some(next) = &self.nodes[at] else { return false };
        let found = (0..next.inputs.len()).find_map(|input| {
            let from = *self.maker.get(&next.inputs[input])?;
            Some((from, self.merged(from, at, input)?))
        });
        let Some((from, merged)) = found else { return false };
        // What was read between the two is read no more, though the node that they are may still make it.
        if let Some(read) = self.nodes[from].as_ref().and_then(|first| first.outputs.first()) {
            self.uses.remove(read);
        }
        self.maker.extend(merged.outputs.iter().map(|&value| (value, at)));
        self.nodes[from] = None;
        self.nodes[at] = Some(merged);
        true
    }

    /// Nodes `from` and `at` as one, which stands where `at` does; `at` reads the other as its input `input`.
    fn merged(&self, from: usize, at: usize, input: usize) -> Option<Node> {
        let (first, next) = (self.nodes[from].as_ref()?, self.nodes[at].as_ref()?);
        let (&read, kept) = first.outputs.split_first()?;
        if next.outputs.len() > 1 && !kept.is_empty() {
            return None;
        }
        let unused = |value: &Value| !self.uses.contains_key(value);
        if read != next.inputs[input] || self.uses[&read] != 1 || !kept.iter().all(unused) {
            return None;
        }
        let op: Arc<dyn Op> = first.op.then(&*next.op, input, first.inputs.len())?.into();
        let others = next.inputs.iter().enumerate().filter(|(other, _)| *other != input).map(|(_, &value)| value);
        let inputs: Vec<Value> = first.inputs.iter().copied().chain(others).collect();
        let tensors =
            |values: &[Value]| values.iter().map(|&value| self.graph.tensor(value).clone()).collect::<Vec<Tensor>>();
        // The first reads its inputs later now: not after something has written them.
        let reads: Vec<Value> = first.inputs.iter().map(|&value| self.root(value)).collect();
        let written =
            |node: &Node| node.op.updates().iter().any(|pair| reads.contains(&self.root(node.inputs[pair.0])));
        let untouched = !self.nodes[from + 1..at].iter().flatten().any(written);
        let made = op.outputs(&tensors(&inputs)).ok().filter(|_| untouched)?;
        let outputs = [kept, &first.outputs].map(|own| [&next.outputs, own].concat());
        let outputs = outputs.into_iter().find(|outputs| made == tensors(outputs))?;
        Some(Node { op, inputs, outputs, scope: first.scope.clone() })
    }

    /// Takes out nodes that neither these values, outputs nor updates depend on.
    fn keep_only(&mut self, wanted: impl Iterator<Item = Value>) {
        wanted.for_each(|value| *self.uses.entry(value).or_default() += 1);
        self.drop_unread(|node| node.op.updates().is_empty());
    }

    /// Takes out nodes of which nothing is read, the last first.
    fn drop_unread(&mut self, may_go: impl Fn(&Node) -> bool) {
        for place in self.nodes.iter_mut().rev() {
            let unread = |node: &Node| may_go(node) && !node.outputs.iter().any(|value| self.uses.contains_key(value));
            let Some(node) = place.take_if(|node| unread(node)) else { continue };
            for value in &node.inputs {
                if let Some(uses) = self.uses.get_mut(value) {
                    *uses -= 1;
                    if *uses == 0 {
                        self.uses.remove(value);
                    }
                }
            }
        }
    }

    /// The value that a view looks at, or the value itself.
    fn root(&self, mut value: Value) -> Value {
        while let Some(node) = self.maker.get(&value).and_then(|&at| self.nodes[at].as_ref())
            && node.op.is_view()
        {
            value = node.inputs[0];
        }
        value
    }
}
