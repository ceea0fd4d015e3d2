//! One op on one shape, ready to be timed: a node of a case's graph, forward or backward.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::WARM_UP;
use crate::gpu::{Bare, Device, Error, Pipelines};
use crate::graph::{Case, Cost, Graph, GraphError, Node, Op, Tensor, Value};
use crate::kernel::{Elem, Recording};
use crate::plan::PlanError;
use crate::verify;

/// A sample lasts at least this long, so that the start of a pass does not show.
const SAMPLE: Duration = Duration::from_millis(5);
/// The median is taken of so many samples.
const SAMPLES: usize = 7;
/// Runs take turns on copies of a subject that hold more than this together, as much as the largest caches of GPUs twice over.
const ROTATED: usize = 128 << 20;
/// The most copies.
const COPIES: usize = 64;
/// The most runs in one sample; a driver may take a submission that lasts seconds for a hang.
const MOST_RUNS: u32 = 1_000;

/// Why something was not measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
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

/// Which part of an op a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The op itself.
    Forward,
    /// It computes the gradients of these inputs of the op; of none, where it only prepares them.
    Backward(Vec<usize>),
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Backward(inputs) => {
                f.write_str("backward")?;
                inputs.iter().try_for_each(|input| write!(f, " {input}"))
            }
        }
    }
}

/// An op on one shape.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The op's name, and the layer of a real model whose shape this is.
    pub name: String,
    /// Shapes of the inputs.
    pub shape: String,
    /// The element type that the case is tried in.
    pub elem: Elem,
    /// Which part of the op.
    pub pass: Pass,
    /// Multiply-adds and bytes that it costs at least.
    pub cost: Cost,
    /// Its kernel calls.
    pub recording: Recording,
    /// The op of the node: the case's own, or one of its gradient.
    pub op: Arc<dyn Op>,
    /// What it is applied to.
    pub inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// What was measured of a subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// GPU time of one run: the median of several samples. `None` where the device has no timestamps.
    pub median: Option<Duration>,
    /// How many pipelines it took that no subject before had built.
    pub pipelines: usize,
    /// Copies of its memory that runs took turns on.
    pub copies: usize,
}

/// Everything that a case's graph runs on a machine: the op and its gradients. Views run nothing.
///
/// # Errors
/// When the op refuses the shapes, or its gradient rule the outputs.
pub fn subjects(case: &Case, elem: Elem, device: &Device) -> Result<Vec<Subject>, GraphError> {
    let (graph, gradients) = verify::with_gradients(case, elem)?;
    let nodes = graph.nodes().iter().enumerate().filter(|(_, node)| !node.op.is_view());
    Ok(nodes.map(|(at, node)| subject(case, elem, (&graph, at, node), (&gradients, device))).collect())
}

fn subject(
    case: &Case,
    elem: Elem,
    (graph, at, node): (&Graph, usize, &Node),
    (gradients, device): (&[Option<Value>], &Device),
) -> Subject {
    let (recording, inputs, outputs) = verify::record(graph, node, device.capabilities());
    let makes = |grad: &Option<Value>| grad.is_some_and(|grad| node.outputs.contains(&grad));
    let pass = match at {
        0 => Pass::Forward,
        _ => Pass::Backward((0..gradients.len()).filter(|&input| makes(&gradients[input])).collect()),
    };
    let layer = case.real.map(|layer| format!(" ({layer})")).unwrap_or_default();
    Subject {
        name: format!("{}{layer}", node.op.name()),
        shape: inputs.iter().map(|tensor| tensor.shape.to_string()).collect::<Vec<_>>().join(" "),
        elem,
        pass,
        cost: node.op.cost(&inputs, &outputs),
        recording,
        op: node.op.clone(),
        inputs,
        outputs,
    }
}

impl Subject {
    /// What it holds while it runs: inputs, outputs (once, where they share memory) and what lies between its kernel calls.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let updates = self.op.updates();
        let own = self.outputs.iter().enumerate().filter(|(at, _)| !updates.iter().any(|pair| pair.1 == *at));
        let tensors = self.inputs.iter().chain(own.map(|(_, tensor)| tensor)).map(Tensor::bytes);
        tensors.chain(self.recording.scratch.iter().copied()).sum()
    }

    /// Writes its kernel calls down anew, for another device.
    pub fn record_for(&mut self, device: &Device) {
        self.recording = self.op.recorded(&self.inputs, &self.outputs, device.capabilities());
    }

    /// Memory and pipelines for it; inputs hold numbers that any op takes.
    ///
    /// # Errors
    /// When a kernel does not compile or memory does not suffice.
    pub fn prepare<'a>(&self, device: &'a Device, pipelines: &Pipelines) -> Result<Bare<'a>, Error> {
        let most = device.capabilities().max_binding_bytes;
        if let Some(tensor) = self.inputs.iter().chain(&self.outputs).find(|tensor| tensor.bytes() > most) {
            let reason = format!("{tensor} has {} bytes, and the device binds at most {most}", tensor.bytes());
            return Err(Error::Invalid { during: format!("preparing {}", self.name), reason });
        }
        let inputs: Vec<Vec<u8>> = self.inputs.iter().map(content).collect();
        let outputs: Vec<usize> = self.outputs.iter().map(Tensor::bytes).collect();
        Bare::new(device, pipelines, &self.recording, (&inputs, &outputs), &self.op.updates())
    }

    /// Runs it until its time is known, on copies of its memory in turns, so that no cache holds what is to be read. On a software
    /// adapter there is one.
    ///
    /// # Errors
    /// When a kernel does not compile, memory does not suffice or the device is lost.
    pub fn measure(&self, device: &Device, pipelines: &Pipelines) -> Result<Measurement, Error> {
        let before = pipelines.count();
        let mut bare = self.prepare(device, pipelines)?;
        let built = pipelines.count() - before;
        let copies = match device.capabilities().software {
            true => 1,
            false => ROTATED.div_ceil(self.held_bytes().max(1)).min(COPIES),
        };
        for _ in 1..copies {
            bare.in_turns_with(self.prepare(device, pipelines)?);
        }
        Ok(Measurement { median: median(&bare)?, pipelines: built, copies })
    }
}

/// The GPU time of one run, as the median of several samples of enough runs each.
pub(super) fn median(bare: &Bare<'_>) -> Result<Option<Duration>, Error> {
    // The first run pays for what the driver puts off; the second says how many runs a sample needs.
    bare.run(1)?;
    let Some(mut once) = bare.time(1)? else { return Ok(None) };
    let runs_of = |once: Duration| SAMPLE.as_nanos().div_ceil(once.as_nanos().max(1)).min(u128::from(MOST_RUNS)) as u32;
    let warming = Instant::now();
    while !bare.device().capabilities().software && warming.elapsed() < WARM_UP {
        let runs = runs_of(once);
        once = bare.time(runs as usize)?.map_or(once, |time| time / runs);
    }
    let runs = runs_of(once);
    // What takes longer than a sample alone needs no seven of them.
    let samples = if once > 20 * SAMPLE { 3 } else { SAMPLES };
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        times.extend(bare.time(runs as usize)?.map(|time| time / runs));
    }
    times.sort();
    Ok(times.get(times.len() / 2).copied())
}

/// Numbers between -1 and 1, mixed so that no multiplication is cheap.
pub(super) fn spread(count: usize) -> impl Iterator<Item = f64> {
    let numbers = (0u32..).map(|at| f64::from(at.wrapping_mul(0x9e37_79b9) >> 8) / f64::from(1u32 << 23) - 1.0);
    numbers.take(count)
}

/// Numbers that [`content`] makes before it begins anew.
const BLOCK: usize = 1 << 16;

/// Spread numbers, a block again and again; zeros for labels and indices, which always fit.
fn content(tensor: &Tensor) -> Vec<u8> {
    let numbers = spread(BLOCK);
    let block: Vec<u8> = match tensor.elem {
        Elem::F32 => numbers.flat_map(|number| (number as f32).to_le_bytes()).collect(),
        Elem::F16 => numbers.flat_map(|number| half::f16::from_f64(number).to_le_bytes()).collect(),
        Elem::U32 => return vec![0; tensor.bytes()],
    };
    let mut bytes = block.repeat(tensor.bytes().div_ceil(block.len()));
    bytes.truncate(tensor.bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn a_product_has_its_two_gradients_apart() -> Result<(), BenchError> {
        let device = Device::rehearsal()?;
        let product = ops::cases().into_iter().find(|case| case.op.name() == "matmul");
        let subjects = subjects(&product.expect("matmul has cases"), Elem::F32, &device)?;
        let passes: Vec<String> = subjects.iter().map(|subject| subject.pass.to_string()).collect();
        assert_eq!(passes, ["forward", "backward 0", "backward 1"]);
        assert!(subjects.iter().all(|subject| subject.cost.multiply_adds > 0));
        Ok(())
    }

    #[test]
    fn numbers_of_a_bench_are_spread() {
        let bytes = content(&Tensor::f32([1_000]));
        let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
        let mean = numbers.iter().sum::<f32>() / 1_000.0;
        assert!(mean.abs() < 0.05 && numbers.iter().all(|number| number.abs() <= 1.0), "{mean}");
        assert!(numbers.iter().filter(|number| number.abs() < 0.5).count() > 400);
    }
}
