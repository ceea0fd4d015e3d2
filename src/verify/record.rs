//! A case as a graph with its gradients, and what its nodes record: which kernels it would run, without a machine.

use crate::graph::{Case, Graph, GraphError, Node, Tensor, Value};
use crate::kernel::{Capabilities, Elem, Grid, Recording, gather};
use crate::ops;

/// A case's graph, and the gradient of each of its inputs: `None` for what has none.
///
/// The gradients of its outputs are inputs of the graph, named `cotangent0` and so on.
///
/// # Errors
/// When the op refuses the shapes, or its gradient rule the outputs.
///
/// # Panics
/// When gradients flow from an output that the op does not have.
pub fn with_gradients(case: &Case, elem: Elem) -> Result<(Graph, Vec<Option<Value>>), GraphError> {
    if !case.has_gradient {
        let (graph, inputs) = case.graph(elem)?;
        return Ok((graph, vec![None; inputs.len()]));
    }
    let Differentiated { graph, gradients, .. } = differentiated(case, elem)?;
    Ok((graph, gradients))
}

/// A case's graph with its gradients.
pub(super) struct Differentiated {
    pub(super) graph: Graph,
    pub(super) inputs: Vec<Value>,
    /// Outputs and the cotangents that gradients start from.
    pub(super) seeds: Vec<(Value, Value)>,
    /// What the rules give for each input.
    pub(super) gradients: Vec<Option<Value>>,
}

/// The case with its gradient rules applied.
pub(super) fn differentiated(case: &Case, elem: Elem) -> Result<Differentiated, GraphError> {
    let (mut graph, inputs) = case.graph(elem)?;
    let outputs = graph.nodes()[0].outputs.clone();
    let mut seeds = Vec::new();
    for &at in &case.seeds {
        let tensor = graph.tensor(outputs[at]).clone();
        seeds.push((outputs[at], graph.input(format!("cotangent{at}"), tensor)));
    }
    let gradients = ops::gradients(&mut graph, &seeds, &inputs)?;
    Ok(Differentiated { graph, inputs, seeds, gradients })
}

/// A node's kernel calls on such a machine, with the types of its inputs and outputs.
#[must_use]
pub fn record(graph: &Graph, node: &Node, machine: &Capabilities) -> (Recording, Vec<Tensor>, Vec<Tensor>) {
    let tensors = |values: &[Value]| values.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<Tensor>>();
    let (inputs, outputs) = (tensors(&node.inputs), tensors(&node.outputs));
    (node.op.recorded(&inputs, &outputs, machine), inputs, outputs)
}

/// What every node of a case records on such a machine, forward and backward; views record nothing.
///
/// # Errors
/// When the op refuses the shapes, or its gradient rule the outputs.
pub fn recordings(case: &Case, elem: Elem, machine: &Capabilities) -> Result<Vec<Recording>, GraphError> {
    let (graph, _) = with_gradients(case, elem)?;
    let nodes = graph.nodes().iter().filter(|node| !node.op.is_view());
    Ok(nodes.map(|node| record(&graph, node, machine).0).collect())
}

/// The same calls with every row of workgroups folded into two, the second longer than need be.
///
/// Kernels that find their number with `folded` of `shaders/lib/index.wgsl` must not care, and must ignore the numbers
/// past the end; only grids of over 65,535 workgroups would show it otherwise.
pub(super) fn folded(recording: &Recording) -> Recording {
    let mut recording = recording.clone();
    for dispatch in &mut recording.dispatches {
        let folds =
            gather(dispatch.kernel, &dispatch.variant).is_ok_and(|files| files.iter().any(|file| file.0 == "index"));
        if let (true, Grid([groups, 1, 1])) = (folds, dispatch.grid) {
            dispatch.grid = Grid([groups / 2 + 1, 2, 1]);
        }
    }
    recording
}

/// Whether anything of a graph is f16, so that a machine without it cannot run it: a case may name f16 itself, whatever
/// the element type.
pub(super) fn holds_f16(graph: &Graph) -> bool {
    graph.values().any(|value| graph.tensor(value).elem == Elem::F16)
}

/// Whether a recording multiplies cooperative matrices anywhere.
#[must_use]
pub fn uses_fragments(recording: &Recording) -> bool {
    recording.dispatches.iter().any(|dispatch| dispatch.variant.is_cooperative())
}
