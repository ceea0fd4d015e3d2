//! What holds each value: an input, a home, or memory of its own; views and updates resolved, the laws of updates kept.

use std::collections::HashMap;

use super::{Layout, PlanError};
use crate::graph::{Graph, Node, Source, Tensor, Value};

/// Kernels load 16 bytes at a time: every binding is a multiple of that, so that the last load stays inside.
const STRIP: usize = 16;

/// Bytes of the binding that holds a tensor.
pub(super) fn binding_bytes(tensor: &Tensor) -> usize {
    let count = tensor.shape.iter().fold(1usize, |count, &size| count.saturating_mul(size));
    round_up(count.saturating_mul(tensor.elem.bytes()))
}

/// The next multiple of what kernels load at a time, and never nothing.
pub(super) fn round_up(bytes: usize) -> usize {
    bytes.max(1).div_ceil(STRIP).saturating_mul(STRIP)
}

/// What holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The input of this number.
    Input(usize),
    /// A home, from this offset on.
    Home(usize, usize),
    /// Memory that the planner gives to this value.
    Own(Value),
}

/// What holds each value, by the value's number.
#[derive(Debug)]
pub(super) struct Memory {
    /// What holds each value.
    pub(super) holders: Vec<Holder>,
    /// The value whose memory it is: what a view looks at, the stored tensor that an update writes, or itself.
    pub(super) owners: Vec<Value>,
    /// The graph's inputs, in order.
    pub(super) inputs: Vec<(String, Value)>,
}

impl Memory {
    /// Resolves views and updates of the live nodes.
    pub(super) fn of(graph: &Graph, live: &[usize], layout: &Layout) -> Result<Self, PlanError> {
        let mut inputs: Vec<(String, Value)> = Vec::new();
        let mut holders = Vec::with_capacity(graph.values().count());
        for value in graph.values() {
            holders.push(match graph.source(value) {
                Source::Input(name) => {
                    if inputs.iter().any(|(known, _)| known == name) {
                        return Err(PlanError::Name(format!("two inputs are called `{name}`")));
                    }
                    inputs.push((name.clone(), value));
                    Holder::Input(inputs.len() - 1)
                }
                Source::Stored { home, name } => stored(layout, home, name, graph.tensor(value))?,
                Source::Node(..) => Holder::Own(value),
            });
        }
        let mut owners: Vec<Value> = graph.values().collect();
        for node in live.iter().map(|&at| &graph.nodes()[at]) {
            let mut shared = updates(graph, node)?;
            if node.op.is_view() {
                shared.push((viewed(graph, node)?, node.outputs[0]));
            }
            for (input, output) in shared {
                holders[output.index()] = holders[input.index()];
                owners[output.index()] = owners[input.index()];
            }
        }
        check_updates(graph, live)?;
        Ok(Self { holders, owners, inputs })
    }
}

fn stored(layout: &Layout, home: &'static str, name: &str, tensor: &Tensor) -> Result<Holder, PlanError> {
    match layout.find(home, name) {
        Some((at, stored)) if stored.tensor == *tensor => Ok(Holder::Home(at, stored.offset)),
        Some((_, stored)) => {
            let problem = format!("{home} `{name}` is {} in the layout and {tensor} in the graph", stored.tensor);
            Err(PlanError::Name(problem))
        }
        None => Err(PlanError::NotInLayout { home, name: name.to_owned() }),
    }
}

/// The op and where it stands, for messages and labels.
pub(super) fn label(node: &Node) -> String {
    match node.scope.as_str() {
        "" => node.op.name().to_owned(),
        scope => format!("{} at {scope}", node.op.name()),
    }
}

/// The value that a view looks at.
fn viewed(graph: &Graph, node: &Node) -> Result<Value, PlanError> {
    let fault = |problem: String| Err(PlanError::Fault { what: label(node), problem });
    let (&[input], &[output]) = (&node.inputs[..], &node.outputs[..]) else {
        return fault("a view has one input and one output".to_owned());
    };
    let (from, to) = (graph.tensor(input), graph.tensor(output));
    if (from.shape.count(), from.elem) != (to.shape.count(), to.elem) {
        return fault(format!("{to} is not a view of {from}"));
    }
    Ok(input)
}

/// The pairs (input, output) that share a home's memory.
fn updates(graph: &Graph, node: &Node) -> Result<Vec<(Value, Value)>, PlanError> {
    let what = || label(node);
    let mut pairs = Vec::new();
    for (input, output) in node.op.updates() {
        let (Some(&input), Some(&output)) = (node.inputs.get(input), node.outputs.get(output)) else {
            let problem = format!("it updates input {input} through output {output}, and has no such pair");
            return Err(PlanError::Fault { what: what(), problem });
        };
        let (from, to) = (graph.tensor(input), graph.tensor(output));
        if from != to {
            return Err(PlanError::Fault { what: what(), problem: format!("it updates {from} by {to}") });
        }
        if !matches!(graph.source(input), Source::Stored { .. }) {
            let problem = format!("updates {from}, which is no stored tensor; declare it with Graph::stored");
            return Err(PlanError::Update { what: what(), problem });
        }
        pairs.push((input, output));
    }
    Ok(pairs)
}

/// A stored tensor is updated at most once, and nothing looks at its old numbers from then on.
fn check_updates(graph: &Graph, live: &[usize]) -> Result<(), PlanError> {
    let mut roots: Vec<Value> = graph.values().collect();
    let mut updated: HashMap<Value, &Node> = HashMap::new();
    let name = |value: Value| match graph.source(value) {
        Source::Stored { home, name } => format!("{home} `{name}`"),
        _ => graph.tensor(value).to_string(),
    };
    for node in live.iter().map(|&at| &graph.nodes()[at]) {
        if node.op.is_view() {
            roots[node.outputs[0].index()] = roots[node.inputs[0].index()];
            continue;
        }
        let pairs = node.op.updates();
        for &(input, _) in &pairs {
            if let Some(first) = updated.insert(node.inputs[input], node) {
                let problem = format!("updates {} a second time, after {}", name(node.inputs[input]), label(first));
                return Err(PlanError::Update { what: label(node), problem });
            }
        }
        for (at, input) in node.inputs.iter().enumerate() {
            let root = roots[input.index()];
            let through_output = pairs.iter().any(|pair| pair.0 == at);
            if let (Some(first), false) = (updated.get(&root), through_output) {
                let problem = format!("reads {} as it was before {} updated it", name(root), label(first));
                return Err(PlanError::Update { what: label(node), problem });
            }
        }
    }
    for (output, value) in graph.outputs() {
        let root = roots[value.index()];
        if let Some(first) = updated.get(&root) {
            let problem = format!("is {} as it was before {} updated it", name(root), label(first));
            return Err(PlanError::Update { what: format!("output `{output}`"), problem });
        }
    }
    Ok(())
}
