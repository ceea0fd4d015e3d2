//! Kernels against maths: every node of a case's graph, forward and backward, run by itself on the GPU.
//!
//! Around every run: outputs are poisoned first, so that an unwritten element shows; a pattern stands behind each
//! tensor and must survive; the run is repeated and must be bitwise equal.

use half::f16;

use super::record::{record, uses_fragments, with_gradients};
use super::tolerance::Tolerance;
use crate::gpu::{Bare, Device, Error, Pipelines};
use crate::graph::{Arrays, Case, Graph, GraphError, Node, Source, Tensor, Value, interpret, numbers, round, run};
use crate::kernel::Elem;
use crate::plan::PlanError;
use crate::reference::{Array, Random, Real};

/// Draws of the inputs over which the yardstick's largest error is taken when an output is small.
pub(super) const DRAWS: u64 = 8;
/// An output with more numbers than this needs one draw only: luck evens out.
pub(super) const SMALL: usize = 4096;

/// What a comparison found for one output.
#[derive(Clone, Debug)]
pub struct Row {
    /// The op's name.
    pub op: &'static str,
    /// The kernels that computed it, in order, each once.
    pub kernels: Vec<&'static str>,
    /// Whether any of them multiplied cooperative matrices.
    pub cooperative: bool,
    /// Shapes of the inputs.
    pub shapes: String,
    /// Which output.
    pub output: usize,
    /// Largest error, as a share of what is allowed at that element: over 1 is a fault.
    pub worst: f64,
    /// Largest absolute error.
    pub error: f64,
    /// What was allowed where the error was worst.
    pub allowed: f64,
    /// What is wrong, or nothing.
    pub fault: Option<String>,
}

/// Why a case could not be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The planner refused.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine refused.
    #[error(transparent)]
    Gpu(#[from] Error),
}

/// Runs every node of a case's graph, gradients included, and compares it with its maths.
///
/// # Errors
/// When the case cannot be built or the machine fails; wrong numbers are rows with a fault.
pub fn compare(device: &Device, pipelines: &Pipelines, case: &Case, elem: Elem) -> Result<Vec<Row>, CompareError> {
    let (graph, _) = with_gradients(case, elem)?;
    let small = graph.values().map(|value| graph.tensor(value).shape.count()).max().unwrap_or(0) <= SMALL;
    let draws: Vec<Arrays<f64>> = (0..if small { DRAWS } else { 1 }).map(|seed| truth(case, &graph, seed)).collect();
    let mut rows = Vec::new();
    for node in graph.nodes().iter().filter(|node| !node.op.is_view()) {
        rows.extend(compare_node(device, pipelines, &graph, node, &draws)?);
    }
    Ok(rows)
}

/// Every value of the graph in f64, inputs rounded to what their element type can hold.
fn truth(case: &Case, graph: &Graph, seed: u64) -> Arrays<f64> {
    let leaf = |value: Value, source: &Source| {
        let (Source::Input(name) | Source::Stored { name, .. }) = source else {
            return Ok::<_, std::convert::Infallible>(Array::zeros(&[]));
        };
        let tensor = graph.tensor(value);
        let drawn = match name.strip_prefix("input").and_then(|at| at.parse().ok()) {
            Some(at) => case.numbers(at, seed),
            None => numbers(&tensor.shape, crate::graph::Draw::Normal, &mut Random::named(seed, name)),
        };
        Ok(round(&drawn, tensor.elem))
    };
    let Ok(arrays) = interpret(graph, leaf);
    arrays
}

fn compare_node(
    device: &Device,
    pipelines: &Pipelines,
    graph: &Graph,
    node: &Node,
    draws: &[Arrays<f64>],
) -> Result<Vec<Row>, CompareError> {
    let (recording, inputs, outputs) = record(graph, node, device.capabilities());
    let given = |arrays: &Arrays<f64>| -> Vec<Array<f64>> {
        let pairs = node.inputs.iter().zip(&inputs);
        pairs.map(|(value, tensor)| round(&arrays[value.index()], tensor.elem)).collect()
    };
    let first = given(&draws[0]);
    let truth = run(&*node.op, &first.iter().collect::<Vec<_>>());
    let yardsticks = yardsticks(node, &outputs, draws.iter().map(given));

    let bytes: Vec<Vec<u8>> = first.iter().zip(&inputs).map(|(array, tensor)| encode(array, tensor.elem)).collect();
    let sizes: Vec<usize> = outputs.iter().map(Tensor::bytes).collect();
    let bare = Bare::new(device, pipelines, &recording, (&bytes, &sizes), &node.op.updates())?;
    bare.run(1)?;
    let found: Vec<Vec<u8>> = (0..outputs.len()).map(|at| bare.output(at)).collect::<Result<_, _>>()?;
    let broken = bare.broken_guards()?;
    let again = Bare::new(device, pipelines, &recording, (&bytes, &sizes), &node.op.updates())?;
    again.run(1)?;

    let mut kernels: Vec<&'static str> = recording.dispatches.iter().map(|dispatch| dispatch.kernel.name).collect();
    kernels.dedup();
    let shapes = inputs.iter().map(|tensor| tensor.shape.to_string()).collect::<Vec<_>>().join(" ");
    let mut rows = Vec::new();
    for at in 0..outputs.len() {
        let elem = outputs[at].elem;
        let largest = truth[at].data.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let tolerance = Tolerance::new(yardsticks[at], largest, elem, node.op.functions());
        let worst = Worst::of(&truth[at], &decode(&found[at], elem), |truth| tolerance.allowed(truth, elem));
        let fault = if let Some(guard) = broken.first() {
            Some(format!("{:?} was written {} bytes past its end", guard.view, guard.past_end))
        } else if again.output(at)? != found[at] {
            Some("a second run gave other bits".to_owned())
        } else {
            worst.fault(&outputs[at])
        };
        rows.push(Row {
            op: node.op.name(),
            kernels: kernels.clone(),
            cooperative: uses_fragments(&recording),
            shapes: shapes.clone(),
            output: at,
            worst: worst.share,
            error: worst.error,
            allowed: worst.allowed,
            fault,
        });
    }
    Ok(rows)
}

/// The largest error of the f32 maths over each output, whatever the draw.
pub(super) fn yardsticks(node: &Node, outputs: &[Tensor], draws: impl Iterator<Item = Vec<Array<f64>>>) -> Vec<f64> {
    let mut largest = vec![0.0f64; outputs.len()];
    for given in draws {
        let truth = run(&*node.op, &given.iter().collect::<Vec<_>>());
        for (largest, error) in largest.iter_mut().zip(yardstick(node, outputs, &given, &truth)) {
            *largest = largest.max(error);
        }
    }
    largest
}

/// The largest error of the f32 maths over each output of one draw.
pub(super) fn yardstick(node: &Node, outputs: &[Tensor], given: &[Array<f64>], truth: &[Array<f64>]) -> Vec<f64> {
    let single: Vec<Array<f32>> = given.iter().map(Array::cast).collect();
    let honest = run(&*node.op, &single.iter().collect::<Vec<_>>());
    let error = |(at, tensor): (usize, &Tensor)| {
        let honest = round(&honest[at], tensor.elem);
        let errors = honest.data.iter().zip(&truth[at].data).map(|(a, b)| (a.to_f64() - b).abs());
        // What overflows f16 is judged element by element, not taken as a yardstick.
        errors.filter(|error| error.is_finite()).fold(0.0, f64::max)
    };
    outputs.iter().enumerate().map(error).collect()
}

/// The element that is furthest off, as a share of what is allowed there.
pub(super) struct Worst {
    pub(super) share: f64,
    pub(super) error: f64,
    pub(super) allowed: f64,
    /// Up to eight worst places: (number, found, true).
    pub(super) places: Vec<(usize, f64, f64)>,
}

impl Worst {
    pub(super) fn of(truth: &Array<f64>, found: &[f64], allowed: impl Fn(f64) -> f64) -> Self {
        let share = |at: usize| {
            let (found, truth) = (found[at], truth.data[at]);
            let allowed = allowed(truth);
            match found.is_finite() && truth.is_finite() {
                true => (found - truth).abs() / allowed.max(f64::MIN_POSITIVE),
                // What is infinite or no number must be so on both sides.
                false if found.to_bits() == truth.to_bits() || (found.is_nan() && truth.is_nan()) => 0.0,
                false => f64::INFINITY,
            }
        };
        let mut order: Vec<(f64, usize)> = (0..truth.data.len()).map(|at| (share(at), at)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (share, at) = order.first().copied().unwrap_or((0.0, 0));
        let places = order.iter().take(8).filter(|place| place.0 > 1.0);
        Self {
            share,
            error: (found[at] - truth.data[at]).abs(),
            allowed: allowed(truth.data[at]),
            places: places.map(|&(_, at)| (at, found[at], truth.data[at])).collect(),
        }
    }

    fn fault(&self, tensor: &Tensor) -> Option<String> {
        if self.share <= 1.0 {
            return None;
        }
        let places: Vec<String> = self
            .places
            .iter()
            .map(|&(at, found, truth)| format!("  {:?}: {found:e}, true {truth:e}", coordinates(at, &tensor.shape)))
            .collect();
        let (error, allowed) = (self.error, self.allowed);
        Some(format!("{tensor}: |error| {error:.2e}, the yardstick allows {allowed:.2e}\n{}", places.join("\n")))
    }
}

pub(super) fn coordinates(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut coordinates: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let coordinate = at % size;
            at /= size;
            coordinate
        })
        .collect();
    coordinates.reverse();
    coordinates
}

/// Numbers as the bytes of a tensor.
pub(crate) fn encode(array: &Array<f64>, elem: Elem) -> Vec<u8> {
    match elem {
        Elem::F32 => array.data.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        Elem::F16 => array.data.iter().flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect(),
        Elem::U32 => array.data.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect(),
    }
}

/// The bytes of a tensor as numbers.
pub(crate) fn decode(bytes: &[u8], elem: Elem) -> Vec<f64> {
    match elem {
        Elem::F32 => bytes.as_chunks().0.iter().map(|&four| f64::from(f32::from_le_bytes(four))).collect(),
        Elem::F16 => bytes.as_chunks().0.iter().map(|&two| f16::from_le_bytes(two).to_f64()).collect(),
        Elem::U32 => bytes.as_chunks().0.iter().map(|&four| f64::from(u32::from_le_bytes(four))).collect(),
    }
}
