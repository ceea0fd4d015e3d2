//! Kernels against maths: every node of a case's graph, forward and backward, run by itself on the GPU.
//!
//! Around every run: outputs are poisoned first, so that an unwritten element shows; a pattern stands behind each
//! tensor and must survive; the run is repeated, its grids folded another way, and must be bitwise equal.

use std::collections::HashSet;

use half::f16;
use rayon::prelude::*;

use super::expected::{Expected, Truths};
use super::record::{folded, uses_fragments};
use super::tolerance::Tolerance;
use crate::gpu::{Bare, Device, Error, Pipelines};
use crate::graph::{Case, GraphError, Tensor};
use crate::kernel::{Elem, Recording};
use crate::plan::PlanError;
use crate::reference::{Array, PIECE};

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
    /// The planner refused.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine refused.
    #[error(transparent)]
    Gpu(#[from] Error),
}

/// Runs every node of a case's graph, gradients included, and compares it with its maths: a row for each output.
///
/// Views run nothing and give no rows; of an empty answer nothing was compared.
///
/// # Errors
/// When the case cannot be built or the machine fails; wrong numbers are rows with a fault.
///
/// # Panics
/// When an op's maths makes other arrays than its shape rule says.
pub fn compare(device: &Device, pipelines: &Pipelines, case: &Case, elem: Elem) -> Result<Vec<Row>, CompareError> {
    let mut rows = Vec::new();
    for expected in Truths::new(case, elem)? {
        rows.extend(expected.compare(device, pipelines, &expected.recording(device.capabilities()))?);
    }
    Ok(rows)
}

impl Expected {
    /// Runs a recording of the node twice and compares: a row for each output.
    pub(super) fn compare(
        &self,
        device: &Device,
        pipelines: &Pipelines,
        recording: &Recording,
    ) -> Result<Vec<Row>, Error> {
        let Self { node, inputs, outputs, bytes, truths } = self;
        let sizes: Vec<usize> = outputs.iter().map(Tensor::bytes).collect();
        let run = |recording: &Recording| -> Result<_, Error> {
            let bare = Bare::new(device, pipelines, recording, (bytes, &sizes), &node.op.updates())?;
            bare.run(1)?;
            let found = (0..outputs.len()).map(|at| bare.output(at)).collect::<Result<Vec<_>, _>>()?;
            Ok((found, bare))
        };
        let (found, bare) = run(recording)?;
        let mut broken = bare.broken_guards()?;
        // Real shapes fill half of a small GPU.
        drop(bare);
        let (again, bare) = run(&folded(recording))?;
        broken.extend(bare.broken_guards()?);

        let kernels = each_once(recording.dispatches.iter().map(|dispatch| dispatch.kernel.name));
        let shapes = inputs.iter().map(|tensor| tensor.shape.to_string()).collect::<Vec<_>>().join(" ");
        let mut rows = Vec::new();
        for (at, truth) in truths.iter().enumerate() {
            let elem = outputs[at].elem;
            let tolerance = Tolerance::new(truth.yardstick, truth.largest, elem, node.op.functions());
            let allowed = |truth| tolerance.allowed(truth, elem);
            let worst = Worst::of(&truth.numbers, &decode(&found[at], elem), allowed);
            let fault = if let Some(guard) = broken.first() {
                Some(format!("{:?} was written {} bytes past its end", guard.view, guard.past_end))
            } else if again[at] != found[at] {
                Some("a second run gave other bits".to_owned())
            } else {
                worst.fault(&outputs[at])
            };
            let (index, found, right) = worst.place;
            rows.push(Row {
                op: node.op.name(),
                kernels: kernels.clone(),
                cooperative: uses_fragments(recording),
                shapes: shapes.clone(),
                output: at,
                worst: worst.share,
                error: worst.error,
                allowed: worst.allowed,
                index: coordinates(index, &outputs[at].shape),
                found,
                truth: right,
                typical: truth.typical,
                fault,
            });
        }
        Ok(rows)
    }
}

/// The elements that are furthest off, as shares of what is allowed there.
pub(super) struct Worst {
    pub(super) share: f64,
    pub(super) error: f64,
    pub(super) allowed: f64,
    /// The worst element: (number, found, true).
    pub(super) place: (usize, f64, f64),
    /// Up to eight that are wrong.
    pub(super) places: Vec<(usize, f64, f64)>,
}

impl Worst {
    pub(super) fn of(truth: &Array<f64>, found: &[f64], allowed: impl Fn(f64) -> f64 + Sync) -> Self {
        assert_eq!(truth.data.len(), found.len(), "what is compared has as many numbers as its truth");
        let share = |found: f64, truth: f64| match found.is_finite() && truth.is_finite() {
            true => (found - truth).abs() / allowed(truth).max(f64::MIN_POSITIVE),
            // What is infinite or no number must be so on both sides.
            false if found.to_bits() == truth.to_bits() || (found.is_nan() && truth.is_nan()) => 0.0,
            false => f64::INFINITY,
        };
        // Real shapes have tens of millions of elements: pieces side by side, each with its few worst.
        let pieces = found.par_chunks(PIECE).zip(truth.data.par_chunks(PIECE)).enumerate();
        let each = pieces.map(|(piece, (found, truth))| {
            let mut worst = Vec::with_capacity(PLACES + 1);
            for (at, (&found, &truth)) in found.iter().zip(truth).enumerate() {
                keep(&mut worst, (share(found, truth), piece * PIECE + at));
            }
            worst
        });
        let mut worst = Vec::with_capacity(PLACES + 1);
        each.collect::<Vec<_>>().into_iter().flatten().for_each(|place| keep(&mut worst, place));
        let element = |at: usize| (at, found[at], truth.data[at]);
        let (share, place) = worst.first().map_or((0.0, (0, 0.0, 0.0)), |&(share, at)| (share, element(at)));
        let wrong = worst.iter().filter(|(share, _)| *share > 1.0);
        Self {
            share,
            error: (place.1 - place.2).abs(),
            allowed: allowed(place.2),
            place,
            places: wrong.map(|&(_, at)| element(at)).collect(),
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

/// The largest magnitude of what is a number: beside an infinity every error would be small.
pub(super) fn largest(numbers: &Array<f64>) -> f64 {
    let sizes =
        numbers.data.par_iter().with_min_len(PIECE).filter(|number| number.is_finite()).map(|number| number.abs());
    sizes.reduce(|| 0.0, f64::max)
}

/// Puts a place (share, number) where it belongs among the few worst; of equals the first stays in front.
fn keep(worst: &mut Vec<(f64, usize)>, place: (f64, usize)) {
    if worst.len() == PLACES && place.0 <= worst[PLACES - 1].0 {
        return;
    }
    worst.insert(worst.partition_point(|known| known.0 >= place.0), place);
    worst.truncate(PLACES);
}

/// What comes again is dropped; the rest keeps its order.
pub(super) fn each_once(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(*name)).collect()
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
        Elem::F32 => bytes_of(array, |number| (number as f32).to_le_bytes()),
        Elem::F16 => bytes_of(array, |number| f16::from_f64(number).to_le_bytes()),
        Elem::U32 => bytes_of(array, |number| (number as u32).to_le_bytes()),
    }
}

fn bytes_of<const N: usize>(array: &Array<f64>, one: impl Fn(f64) -> [u8; N] + Sync) -> Vec<u8> {
    let mut bytes = vec![0; N * array.data.len()];
    let places = bytes.as_chunks_mut().0.par_iter_mut().zip(&array.data).with_min_len(PIECE);
    places.for_each(|(place, &number)| *place = one(number));
    bytes
}

/// The bytes of a tensor as numbers.
pub(crate) fn decode(bytes: &[u8], elem: Elem) -> Vec<f64> {
    match elem {
        Elem::F32 => numbers_of(bytes, |four| f64::from(f32::from_le_bytes(four))),
        Elem::F16 => numbers_of(bytes, |two| f16::from_le_bytes(two).to_f64()),
        Elem::U32 => numbers_of(bytes, |four| f64::from(u32::from_le_bytes(four))),
    }
}

fn numbers_of<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f64 + Sync + Send) -> Vec<f64> {
    bytes.as_chunks().0.par_iter().with_min_len(PIECE).map(|&piece| one(piece)).collect()
}
