//! Kernels against maths: every node of a case's graph, forward and backward, run by itself on the GPU.
//!
//! Around every run: outputs are poisoned first, so that an unwritten element shows; a pattern stands behind each
//! tensor and must survive; the run is repeated and must be bitwise equal.

use half::f16;
use rayon::prelude::*;

use super::record::{record, uses_fragments};
use super::tolerance::Tolerance;
use super::truth::{Truth, Walk};
use crate::gpu::{Bare, Device, Error, Pipelines};
use crate::graph::{Case, Graph, GraphError, Tensor};
use crate::kernel::Elem;
use crate::reference::Array;

/// Elements that a fault names.
const PLACES: usize = 8;

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
    /// The absolute error of that element, the worst.
    pub error: f64,
    /// What was allowed there.
    pub allowed: f64,
    /// Where it stands in the output.
    pub index: Vec<usize>,
    /// What the GPU gave there.
    pub found: f64,
    /// What is true there.
    pub truth: f64,
    /// The size of the output's numbers (root of their mean square), for judging what is allowed.
    pub typical: f64,
    /// What is wrong, or nothing.
    pub fault: Option<String>,
}

/// Why a case could not be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The machine refused.
    #[error(transparent)]
    Gpu(#[from] Error),
}

/// Runs every node of a case's graph, gradients included, and compares it with its maths.
///
/// # Errors
/// When the case cannot be built or the machine fails; wrong numbers are rows with a fault.
pub fn compare(device: &Device, pipelines: &Pipelines, case: &Case, elem: Elem) -> Result<Vec<Row>, CompareError> {
    let mut walk = Walk::new(case, elem)?;
    let mut rows = Vec::new();
    while let Some(truth) = walk.next() {
        rows.extend(compare_node(device, pipelines, &walk.graph, &truth)?);
    }
    Ok(rows)
}

/// Runs one node and compares its outputs with the truth.
pub(super) fn compare_node(
    device: &Device,
    pipelines: &Pipelines,
    graph: &Graph,
    truth: &Truth,
) -> Result<Vec<Row>, Error> {
    let node = &graph.nodes()[truth.node];
    let (recording, inputs, outputs) = record(graph, node, device.capabilities());
    let sizes: Vec<usize> = outputs.iter().map(Tensor::bytes).collect();
    let run = || -> Result<_, Error> {
        let bare = Bare::new(device, pipelines, &recording, (&truth.inputs, &sizes), &node.op.updates())?;
        bare.run(1)?;
        let found = (0..outputs.len()).map(|at| bare.output(at)).collect::<Result<Vec<_>, _>>()?;
        Ok((found, bare))
    };
    let (found, bare) = run()?;
    let broken = bare.broken_guards()?;
    drop(bare);
    let (again, _) = run()?;

    let mut kernels: Vec<&'static str> = recording.dispatches.iter().map(|dispatch| dispatch.kernel.name).collect();
    kernels.dedup();
    let shapes = inputs.iter().map(|tensor| tensor.shape.to_string()).collect::<Vec<_>>().join(" ");
    let mut rows = Vec::new();
    for (at, known) in truth.outputs.iter().enumerate() {
        let tolerance = Tolerance::new(known.yardstick, known.largest, outputs[at].elem, node.op.functions());
        let worst = Worst::of(&known.truth, &decode(&found[at], outputs[at].elem), &tolerance);
        let fault = if let Some(guard) = broken.first() {
            Some(format!("{:?} was written {} bytes past its end", guard.view, guard.past_end))
        } else if again[at] != found[at] {
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
            worst: worst.places[0].share,
            error: worst.places[0].error(),
            allowed: worst.allowed,
            index: coordinates(worst.places[0].at, &outputs[at].shape),
            found: worst.places[0].found,
            truth: worst.places[0].truth,
            typical: known.typical,
            fault,
        });
    }
    Ok(rows)
}

/// An element and how far it is off.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: usize,
    found: f64,
    truth: f64,
    /// The error as a share of what is allowed there.
    share: f64,
}

impl Place {
    fn error(&self) -> f64 {
        (self.found - self.truth).abs()
    }
}

/// The elements that are furthest off, the worst first; at least one.
struct Worst {
    places: Vec<Place>,
    allowed: f64,
}

impl Worst {
    fn of(truth: &Array<f64>, found: &[f64], tolerance: &Tolerance) -> Self {
        let place = |(at, (&found, &truth)): (usize, (&f64, &f64))| {
            let share = match found.is_finite() && truth.is_finite() {
                true => (found - truth).abs() / tolerance.allowed(truth).max(f64::MIN_POSITIVE),
                // What is infinite or no number must be so on both sides.
                false if found.to_bits() == truth.to_bits() || (found.is_nan() && truth.is_nan()) => 0.0,
                false => f64::INFINITY,
            };
            Place { at, found, truth, share }
        };
        // Real shapes have tens of millions of elements: pieces side by side, each with its few worst.
        const PIECE: usize = 1 << 16;
        let pieces = found.par_chunks(PIECE).zip(truth.data.par_chunks(PIECE)).enumerate();
        let worst = pieces.map(|(piece, (found, truth))| {
            let mut worst: Vec<Place> = Vec::with_capacity(PLACES + 1);
            for (at, pair) in found.iter().zip(truth).enumerate() {
                let place = place((piece * PIECE + at, pair));
                if worst.len() < PLACES || place.share > worst[PLACES - 1].share {
                    keep(&mut worst, place);
                }
            }
            worst
        });
        let mut places = Vec::with_capacity(PLACES + 1);
        worst.collect::<Vec<_>>().into_iter().flatten().for_each(|place| keep(&mut places, place));
        if places.is_empty() {
            places.push(Place::default());
        }
        Self { allowed: tolerance.allowed(places[0].truth), places }
    }

    fn fault(&self, tensor: &Tensor) -> Option<String> {
        let wrong = || self.places.iter().filter(|place| place.share > 1.0);
        wrong().next()?;
        let places: Vec<String> = wrong()
            .map(|place| {
                format!("  {:?}: {:e}, true {:e}", coordinates(place.at, &tensor.shape), place.found, place.truth)
            })
            .collect();
        let (error, allowed) = (self.places[0].error(), self.allowed);
        Some(format!("{tensor}: |error| {error:.2e}, the yardstick allows {allowed:.2e}\n{}", places.join("\n")))
    }
}

/// Puts a place where it belongs among the few worst; of equals the first stays in front.
fn keep(worst: &mut Vec<Place>, place: Place) {
    let at = worst.partition_point(|known| known.share >= place.share);
    worst.insert(at, place);
    worst.truncate(PLACES);
}

fn coordinates(mut at: usize, shape: &[usize]) -> Vec<usize> {
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
