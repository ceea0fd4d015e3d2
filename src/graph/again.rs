//! Forward values made a second time for the backward pass, so that the first ones need not be kept until then.

use std::collections::{HashMap, HashSet};

use super::{Graph, GraphError, Node, Source, Value};

/// What a backward pass makes again.
pub(super) struct Again {
    /// The nodes of each part, in the graph's order.
    parts: Vec<Vec<usize>>,
    /// The part that a node belongs to, and where no other.
    part_of: HashMap<usize, usize>,
    /// Values that are there anyway: someone outside their part reads them, or a view of them.
    kept: HashSet<Value>,
    /// Stored values that a node of the graph updates: read again, they would be others.
    updated: HashSet<Value>,
    /// The values made again, by those in whose place they stand.
    made: HashMap<Value, Value>,
    /// The parts that were made again.
    done: HashSet<usize>,
}

impl Again {
    /// Parts of a graph, sets of nodes by their numbers. Of parts that meet, the first has the nodes.
    pub(super) fn of(graph: &Graph, parts: &[Vec<usize>]) -> Self {
        let nodes = graph.nodes();
        let mut part_of = HashMap::new();
        for (part, members) in parts.iter().enumerate() {
            for &at in members.iter().filter(|&&at| at < nodes.len()) {
                part_of.entry(at).or_insert(part);
            }
        }
        let members = |part: usize| (0..nodes.len()).filter(|at| part_of.get(at) == Some(&part)).collect();
        let parts = (0..parts.len()).map(members).collect();
        let mut kept: HashSet<Value> = graph.outputs().iter().map(|(_, value)| *value).collect();
        let mut updated = HashSet::new();
        for (at, node) in nodes.iter().enumerate().rev() {
            for &value in &node.inputs {
                let foreign = match graph.source(value) {
                    Source::Node(maker, _) => part_of.get(maker) != part_of.get(&at),
                    _ => false,
                };
                // Whoever keeps a view keeps what it looks at.
                if foreign || (node.op.is_view() && kept.contains(&node.outputs[0])) {
                    kept.insert(value);
                }
            }
            updated.extend(node.op.updates().iter().filter_map(|pair| node.inputs.get(pair.0)));
        }
        Self { parts, part_of, kept, updated, made: HashMap::new(), done: HashSet::new() }
    }

    /// The node as its gradient rule shall see it: reading, and having made, what was made again. The first node of a
    /// part that is asked for adds to the graph what makes the part again.
    pub(super) fn node(&mut self, graph: &mut Graph, at: usize) -> Result<Node, GraphError> {
        if let Some(&part) = self.part_of.get(&at)
            && self.done.insert(part)
        {
            for member in self.parts[part].clone() {
                self.repeat(graph, member)?;
            }
        }
        let mut node = graph.nodes()[at].clone();
        self.replace(&mut node.inputs);
        self.replace(&mut node.outputs);
        Ok(node)
    }

    fn replace(&self, values: &mut [Value]) {
        for value in values {
            *value = self.made.get(value).copied().unwrap_or(*value);
        }
    }

    /// Makes the outputs of a node again, unless they are there anyway or come from what is no longer there.
    fn repeat(&mut self, graph: &mut Graph, at: usize) -> Result<(), GraphError> {
        let mut node = graph.nodes()[at].clone();
        let updates = node.op.updates();
        let mut reads = node.inputs.iter().enumerate();
        let reads_updated = reads.any(|(input, &value)| {
            updates.iter().all(|pair| pair.0 != input) && self.updated.contains(&root(graph, value))
        });
        if reads_updated || node.outputs.iter().all(|value| self.kept.contains(value)) {
            return Ok(());
        }
        self.replace(&mut node.inputs);
        let again = graph.scoped(format!("{} again", node.scope), |graph| node.op.clone().again(&node, graph))?;
        let Some(again) = again else { return Ok(()) };
        for (&old, new) in node.outputs.iter().zip(again) {
            if graph.tensor(old) != graph.tensor(new) {
                let problem = format!("{} made again is {}", graph.tensor(old), graph.tensor(new));
                return Err(GraphError::Shapes { op: node.op.name().to_owned(), problem, inputs: String::new() });
            }
            if old != new && !self.kept.contains(&old) {
                self.made.insert(old, new);
            }
        }
        Ok(())
    }
}

/// The value that a view looks at, or the value itself.
fn root(graph: &Graph, mut value: Value) -> Value {
    while let Source::Node(at, _) = graph.source(value)
        && graph.nodes()[*at].op.is_view()
    {
        value = graph.nodes()[*at].inputs[0];
    }
    value
}
