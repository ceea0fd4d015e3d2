//! A whole graph on the GPU against its maths: node by node on the GPU's own inputs, and end to end.
//!
//! Every node is judged on what the GPU gave it, so that no error is handed on: the first node that is out of tolerance
//! is the fault. What a node reads must be, bit for bit, what was written there, and the plan run as a whole must leave
//! the bits that its nodes leave one by one: where that fails, [`bisect`](super::bisect) finds the step.

use std::fmt;

use super::bisect::Walk;
use super::compare::{CompareError, Worst, coordinates, decode, each_once, encode, largest};
use super::end_to_end;
use super::expected::{DRAWS, SMALL, yardstick};
use super::tolerance::{NEIGHBOR, TERMS_MOVE, Tolerance, WHOLE_DRAWS};
use crate::gpu::{Device, Error, Executor, Homes, Pipelines};
use crate::graph::{Graph, Node, Source, Tensor, Value, round, run};
use crate::kernel::{Access, Elem};
use crate::plan::{Layout, Options, Plan, PlanError, PlannedNode};
use crate::reference::{Array, Random};

/// The numbers of a graph's inputs and stored tensors, in their shapes: the same whenever asked.
pub type Leaf<'a> = &'a dyn Fn(Value, &Source) -> Array<f64>;

/// Why a step is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What its node wrote is not what the node's maths makes of what it read.
    Maths,
    /// It changed a value that is not its own and is needed later: a kernel that writes to its input, or a plan that
    /// gives two living values one memory.
    Overwrites,
    /// Run in one submission with the steps before it, its node gives other bits than run alone: a race, or memory
    /// that is read before it is written.
    Together,
}

/// A number that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Where it stands, an index an axis.
    pub index: Vec<usize>,
    /// What the GPU made.
    pub found: f64,
    /// What should stand there.
    pub truth: f64,
}

/// The first step of a run whose numbers are wrong, and why nobody before it is to blame.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Why this step.
    pub cause: Cause,
    /// The step: of its node the last that writes the value, or the one that changed another's.
    pub step: usize,
    /// Its kernel.
    pub kernel: &'static str,
    /// All kernels of the node, in order.
    pub kernels: Vec<&'static str>,
    /// The node's op.
    pub op: &'static str,
    /// Where in the model the node stands.
    pub scope: String,
    /// What the node reads.
    pub inputs: Vec<Tensor>,
    /// Which value is wrong, in words.
    pub what: String,
    /// What it is.
    pub tensor: Tensor,
    /// The largest error.
    pub error: f64,
    /// What was allowed there.
    pub allowed: f64,
    /// Up to eight of the worst places.
    pub places: Vec<Place>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, kernel, op, scope, what, tensor, error, allowed, .. } = self;
        let scope = if scope.is_empty() { "the top" } else { scope };
        let inputs: Vec<String> = self.inputs.iter().map(Tensor::to_string).collect();
        write!(f, "step {step}, {kernel} of {op} at {scope} ({}): {what}, {tensor}, ", inputs.join(", "))?;
        match self.cause {
            Cause::Maths if !error.is_finite() => write!(f, "holds what is no number")?,
            Cause::Maths => write!(f, "is off by {error:.2e} where {allowed:.2e} is allowed")?,
            Cause::Overwrites => write!(f, "was right and is changed by it")?,
            Cause::Together => write!(f, "has other bits in one submission than step by step")?,
        }
        for Place { index, found, truth } in &self.places {
            write!(f, "\n  {index:?}: {found:e}, true {truth:e}")?;
        }
        if self.kernels.len() > 1 {
            write!(f, "\n  all kernels of the node: {}", self.kernels.join(", "))?;
        }
        Ok(())
    }
}

/// What stands in an output, or in a stored tensor that was updated, after a run of the whole plan.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputRow {
    /// The output's name; of a stored tensor home and name.
    pub name: String,
    /// The error where it was worst.
    pub error: f64,
    /// What was allowed there.
    pub allowed: f64,
    /// The one as a share of the other: over 1 is too much.
    pub share: f64,
}

/// What a comparison of a whole graph found.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Nodes that ran and were judged, views left out: they run nothing.
    pub nodes: usize,
    /// Nodes of the plan that run something.
    pub of: usize,
    /// Values that were judged.
    pub values: usize,
    /// The largest error of a node as a share of what is allowed there.
    pub worst: f64,
    /// The first step that is wrong; the walk ends there.
    pub first: Option<Divergence>,
    /// What the whole plan left behind.
    pub outputs: Vec<OutputRow>,
}

impl Whole {
    /// Whether every node was judged and is right, and everything that the run left behind.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.first.is_none() && self.nodes == self.of && self.outputs.iter().all(|row| row.share <= 1.0)
    }

    /// What is wrong, in words, or nothing.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(first) = &self.first {
            return Some(first.to_string());
        }
        let out: Vec<&OutputRow> = self.outputs.iter().filter(|row| row.share > 1.0).collect();
        let worst = out.iter().max_by(|one, other| one.share.total_cmp(&other.share))?;
        let OutputRow { name, error, allowed, .. } = worst;
        Some(format!(
            "no step is wrong by itself, but errors add up: {} of {} results are out of what the graph's f32 allows; {name} is off by {error:.2e} where {allowed:.2e} is allowed; the worst node takes {:.0} % of its own allowance",
            out.len(),
            self.outputs.len(),
            100.0 * self.worst
        ))
    }
}

/// Runs a graph on the GPU, node by node and then as a whole, and judges every number that it makes.
///
/// `leaf` gives the inputs and stored tensors; they are rounded to what their element types hold.
///
/// # Errors
/// When the graph cannot be planned or the machine fails; wrong numbers are in the answer.
///
/// # Panics
/// When an op's maths makes other arrays than its shape rule says.
pub fn compare_whole(
    device: &Device,
    pipelines: &Pipelines,
    graph: &Graph,
    leaf: Leaf<'_>,
    options: Options,
) -> Result<Whole, CompareError> {
    compare_whole_telling(device, pipelines, graph, (leaf, options), &mut |_, _| ())
}

/// [`compare_whole`], telling of each node that is about to run: how many ran before it, of how many.
///
/// # Errors
/// As [`compare_whole`].
pub fn compare_whole_telling(
    device: &Device,
    pipelines: &Pipelines,
    graph: &Graph,
    (leaf, options): (Leaf<'_>, Options),
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Whole, CompareError> {
    let machine = device.capabilities();
    let layout = Layout::of(&[graph], machine.offset_alignment)?;
    // Node by node: updates by themselves, too.
    let plan = Plan::new(graph, &layout, machine, Options { rows: false, ..options })?;
    let homes = Homes::new(device, &layout)?;
    let executor = Executor::new(device, pipelines, plan, &homes)?;
    let nodes = executor.plan().nodes().iter().enumerate().filter(|(_, node)| !graph.nodes()[node.node].op.is_view());
    let running: Vec<usize> = nodes.clone().map(|(at, _)| at).collect();
    if let Some((_, idle)) = nodes.clone().find(|(_, node)| node.steps.is_empty()) {
        let problem = "records no kernel and is no view: nothing writes its outputs".to_owned();
        return Err(PlanError::Fault { what: idle.label.clone(), problem }.into());
    }
    let mut whole = Whole { nodes: 0, of: running.len(), values: 0, worst: 0.0, first: None, outputs: Vec::new() };
    let mut walk = Walk::start(&executor, graph, leaf)?;
    for &at in &running {
        tell(whole.nodes, running.len());
        whole.first = visit(&mut walk, at, &mut whole)?;
        if whole.first.is_some() {
            break;
        }
    }
    if whole.first.is_none() {
        whole.first = walk.finish()?;
    }
    walk.reset()?;
    executor.run()?;
    let read = |value: Value| Ok(decode(&executor.read_bytes(value)?, graph.tensor(value).elem));
    // Where a step is known to be wrong, nobody asks whether luck would excuse what came of it.
    let draws = if whole.first.is_some() { 1 } else { WHOLE_DRAWS };
    whole.outputs = end_to_end::judge(graph, (leaf, draws), &read)?;
    Ok(whole)
}

/// Runs one node and judges what it wrote.
fn visit(walk: &mut Walk<'_>, at: usize, whole: &mut Whole) -> Result<Option<Divergence>, CompareError> {
    let (graph, executor) = (walk.graph, walk.executor);
    let planned = &executor.plan().nodes()[at];
    let node = &graph.nodes()[planned.node];
    let mut given = Vec::with_capacity(node.inputs.len());
    for &value in &node.inputs {
        let bytes = executor.read_bytes(value)?;
        if !walk.is_as_written(value, &bytes) {
            return walk.who_changed(value, at);
        }
        let tensor = graph.tensor(value);
        given.push(Array { shape: tensor.shape.to_vec(), data: decode(&bytes, tensor.elem) });
    }
    executor.run_node(at)?;
    let outputs: Vec<Tensor> = node.outputs.iter().map(|&value| graph.tensor(value).clone()).collect();
    let mut found = Vec::with_capacity(outputs.len());
    for (&value, tensor) in node.outputs.iter().zip(&outputs) {
        let bytes = executor.read_bytes(value)?;
        walk.note_written(value, at, &bytes);
        found.push(decode(&bytes, tensor.elem));
    }
    let worsts = judge(node, &given, &outputs, &found);
    whole.nodes += 1;
    whole.values += worsts.len();
    whole.worst = worsts.iter().map(|worst| worst.share).fold(whole.worst, f64::max);
    let Some(number) = worsts.iter().position(|worst| worst.share > 1.0) else { return Ok(None) };
    let step = writer(executor.plan(), planned, node.outputs[number]);
    let about = (format!("output {number}"), outputs[number].clone());
    Ok(Some(Divergence::new(executor.plan(), step, Cause::Maths, about, &worsts[number])))
}

/// A node's outputs against its maths on these very inputs.
fn judge(node: &Node, given: &[Array<f64>], outputs: &[Tensor], found: &[Vec<f64>]) -> Vec<Worst> {
    let truth = run(&*node.op, &given.iter().collect::<Vec<_>>());
    let against = |yardsticks: &[f64]| -> Vec<Worst> {
        let one = |at: usize| {
            let elem = outputs[at].elem;
            let tolerance = Tolerance::new(yardsticks[at], largest(&truth[at]), elem, node.op.functions());
            Worst::of(&truth[at], &found[at], |truth| tolerance.allowed(truth, elem))
        };
        (0..outputs.len()).map(one).collect()
    };
    let mut most = yardstick(node, &given.iter().collect::<Vec<_>>(), &truth, outputs);
    let worsts = against(&most);
    let small = outputs.iter().all(|tensor| tensor.shape.count() <= SMALL);
    if !small || worsts.iter().all(|worst| worst.share <= 1.0) {
        return worsts;
    }
    // More draws only ever allow more: none is needed where one suffices.
    for seed in 1..DRAWS {
        let near: Vec<Array<f64>> =
            moved(given, node, seed, NEIGHBOR).iter().map(|array| round(array, Elem::F32)).collect();
        let near: Vec<&Array<f64>> = near.iter().collect();
        let errors = yardstick(node, &near, &run(&*node.op, &near), outputs);
        // All one way for once: a mean of means is off by roundings of them, however many terms share in it.
        let rounded = if seed == 1 { raised(given) } else { moved(given, node, seed, TERMS_MOVE) };
        let rounded = run(&*node.op, &rounded.iter().collect::<Vec<_>>());
        for (at, (most, error)) in most.iter_mut().zip(errors).enumerate() {
            // Where terms cancel, what is left may be off by roundings of the terms: as if the inputs were others by them.
            let floats = outputs[at].elem != Elem::U32;
            let change = rounded[at].zip(&truth[at], |one, other| (one - other).abs()).data.into_iter();
            let change = change.filter(|change| floats && change.is_finite()).fold(0.0, f64::max);
            *most = most.max(error).max(change);
        }
    }
    against(&most)
}

/// Inputs whose every number is larger by roundings of it; whole numbers stay.
fn raised(given: &[Array<f64>]) -> Vec<Array<f64>> {
    let raised = |array: &Array<f64>| {
        let whole = array.data.iter().all(|number| number.fract() == 0.0);
        array.map(|number| number + if whole { 0.0 } else { TERMS_MOVE * number.abs() })
    };
    given.iter().map(raised).collect()
}

/// Inputs next to these, each number moved by up to this share of it.
fn moved(given: &[Array<f64>], node: &Node, seed: u64, most: f64) -> Vec<Array<f64>> {
    let moved = |(at, array): (usize, &Array<f64>)| {
        let mut random = Random::named(seed, &format!("{} {at}", node.scope));
        // Labels and indices stay: a number that is whole everywhere is no measurement.
        let whole = array.data.iter().all(|number| number.fract() == 0.0);
        let most = if whole { 0.0 } else { most };
        array.moved(most, &mut random)
    };
    given.iter().enumerate().map(moved).collect()
}

/// The last step of a node that writes a value.
pub(super) fn writer(plan: &Plan, node: &PlannedNode, value: Value) -> usize {
    let writes = |step: &usize| {
        let step = &plan.steps()[*step];
        let mut uses = step.values.iter().zip(step.kernel.bindings);
        uses.any(|(known, (_, access))| *known == Some(value) && *access == Access::Write)
    };
    node.steps.clone().rev().find(writes).unwrap_or(node.steps.start)
}

impl Divergence {
    /// Names a step of a plan; `what` is wrong, and how, `worst` says.
    pub(super) fn new(plan: &Plan, step: usize, cause: Cause, (what, tensor): (String, Tensor), worst: &Worst) -> Self {
        let node = plan.node_of(step);
        let kernels = each_once(plan.steps()[node.steps.clone()].iter().map(|step| step.kernel.name));
        let place =
            |&(at, found, truth): &(usize, f64, f64)| Place { index: coordinates(at, &tensor.shape), found, truth };
        Self {
            cause,
            step,
            kernel: plan.steps()[step].kernel.name,
            kernels,
            op: node.op,
            scope: node.scope.clone(),
            inputs: node.inputs.iter().filter_map(|&value| plan.tensor(value).cloned()).collect(),
            places: worst.places.iter().map(place).collect(),
            what,
            tensor,
            error: worst.error,
            allowed: worst.allowed,
        }
    }
}

/// Gives an executor the numbers of every input and stored tensor.
pub(super) fn upload(executor: &Executor, graph: &Graph, leaf: Leaf<'_>) -> Result<(), Error> {
    for value in graph.values() {
        let (source, tensor) = (graph.source(value), graph.tensor(value));
        let rounded = || round(&leaf(value, source), tensor.elem);
        match source {
            Source::Input(name) if tensor.elem == Elem::U32 => {
                let numbers: Vec<u32> = rounded().data.iter().map(|&number| number as u32).collect();
                executor.write_u32(name, &numbers)?;
            }
            Source::Input(name) => {
                let numbers: Vec<f32> = rounded().data.iter().map(|&number| number as f32).collect();
                executor.write_f32(name, &numbers)?;
            }
            Source::Stored { home, name } => {
                executor.homes().write_bytes(home, name, &encode(&rounded(), tensor.elem))?;
            }
            Source::Node(..) => {}
        }
    }
    Ok(())
}
