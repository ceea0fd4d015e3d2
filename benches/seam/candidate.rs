//! A candidate: one way of doing a problem's work, ready to be run, verified and timed.

use std::sync::Arc;

use vistok::gpu::{Bare, Device, Error, Pipelines};
use vistok::graph::{Io, Op, Tensor};
use vistok::kernel::{Capabilities, Elem, Recording};

use crate::problem::{Inputs, Problem};

/// One way of doing a problem's work.
pub(crate) struct Candidate<'a> {
    /// Who does it: `fused/gemm_f32`, `op/matmul`.
    pub(crate) name: String,
    /// What is done: `gemm 4096`.
    pub(crate) shape: String,
    /// The element type.
    pub(crate) elem: Elem,
    /// Floating-point operations of one run.
    pub(crate) flops: f64,
    /// The work.
    pub(crate) bare: Bare<'a>,
}

/// Where candidates are made.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) device: &'a Device,
    pub(crate) pipelines: &'a Pipelines,
}

impl<'a> Candidate<'a> {
    /// From calls written down: two inputs, one output.
    ///
    /// # Errors
    /// When a kernel does not compile or memory does not suffice.
    pub(crate) fn recorded(
        place: Place<'a>,
        name: String,
        (problem, elem): (Problem, Elem),
        inputs: &Inputs,
        recording: &Recording,
    ) -> Result<Self, Error> {
        let output = problem.output_count() * elem.bytes();
        let bare = Bare::new(place.device, place.pipelines, recording, (&inputs.bytes, &[output]), &[])?;
        Ok(Self { name, shape: problem.label(), elem, flops: problem.flops(), bare })
    }
}

/// What an op records for these inputs on this machine, and its outputs.
///
/// # Errors
/// The op's own words when the inputs do not fit it.
pub(crate) fn record(
    op: &Arc<dyn Op>,
    inputs: &[Tensor],
    machine: &Capabilities,
) -> Result<(Recording, Vec<Tensor>), String> {
    let outputs = op.outputs(inputs)?;
    let mut recording = Recording::default();
    op.record(&Io { inputs, outputs: &outputs, machine }, &mut recording);
    Ok((recording, outputs))
}

/// A candidate from an op: what a plan would run for these inputs.
///
/// # Errors
/// When the op refuses the inputs, or the machine refuses the op.
pub(crate) fn from_op<'a>(
    place: Place<'a>,
    op: &Arc<dyn Op>,
    (inputs, bytes): (&[Tensor], &[Vec<u8>]),
    shape: String,
) -> Result<Candidate<'a>, String> {
    let (recording, outputs) = record(op, inputs, place.device.capabilities())?;
    let sizes: Vec<usize> = outputs.iter().map(Tensor::bytes).collect();
    let bare = Bare::new(place.device, place.pipelines, &recording, (bytes, &sizes), &op.updates());
    let cost = op.cost(inputs, &outputs);
    Ok(Candidate {
        name: format!("op/{}", op.name()),
        shape,
        elem: inputs[0].elem,
        flops: 2.0 * cost.multiply_adds as f64,
        bare: bare.map_err(|error| error.to_string())?,
    })
}
