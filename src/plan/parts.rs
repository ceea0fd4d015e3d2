//! What nodes record: at once, or, where a tensor is larger than a binding, a few images of its batch at a time.

use super::PlanError;
use super::alike::{Alike, Row};
use super::error::Remedy;
use super::memory::{Memory, binding_bytes, label, round_up};
use super::steps::check_recording;
use crate::graph::{Graph, Io, Node, Tensor, Value};
use crate::kernel::{Capabilities, Recording};

/// A node's calls.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// In order; none for a view.
    pub(super) parts: Vec<Part>,
    /// Bytes of each scratch memory, in which the parts take turns.
    pub(super) scratch: Vec<usize>,
    /// The values that it binds as inputs.
    pub(super) inputs: Vec<Value>,
}

/// The calls for some images of a batch, or for all of it.
#[derive(Debug)]
pub(super) struct Part {
    /// The calls.
    pub(super) recording: Recording,
    /// What it binds of each input.
    pub(super) inputs: Vec<Piece>,
    /// What it binds of each output.
    pub(super) outputs: Vec<Piece>,
}

/// Where what is bound of a tensor starts in it, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Bytes in front of it.
    pub(super) offset: usize,
    /// Bytes bound.
    pub(super) bytes: usize,
}

/// What each node asks of the machine; nothing where a row asks for it.
pub(super) fn record(
    graph: &Graph,
    live: &[usize],
    (memory, alike): (&Memory, &Alike),
    machine: &Capabilities,
) -> Result<Vec<Recorded>, PlanError> {
    let record_at = |at: usize, row: Option<&Row>| {
        let node = &graph.nodes()[live[at]];
        let (values, inputs): (Vec<Value>, Vec<Tensor>) = alike.gathered(graph, node, memory).into_iter().unzip();
        let outputs = node.outputs.iter().map(|&value| graph.tensor(value).clone()).collect();
        let asked = Asked { node, inputs, outputs, machine };
        let recorded = if let Some(row) = row { asked.record_row(row) } else { asked.record() };
        recorded.map(|recorded| Recorded { inputs: values, ..recorded })
    };
    let record = |at: usize| match alike.row_of(at) {
        None => record_at(at, None),
        Some(row) if row.members.start == at => record_at(at, Some(row)),
        Some(_) => Ok(Recorded::default()),
    };
    (0..live.len()).map(record).collect()
}

/// A node, and what it is asked for.
struct Asked<'a> {
    node: &'a Node,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    machine: &'a Capabilities,
}

impl Asked<'_> {
    fn record(&self) -> Result<Recorded, PlanError> {
        if self.node.op.is_view() {
            return Ok(Recorded::default());
        }
        let limit = self.machine.max_binding_bytes;
        let (inputs, outputs) = (self.inputs.iter().map(|x| (x, "input")), self.outputs.iter().map(|y| (y, "output")));
        let Some((tensor, which)) = outputs.chain(inputs).find(|(tensor, _)| binding_bytes(tensor) > limit) else {
            return self.whole();
        };
        match self.split()? {
            Some(split) => Ok(split),
            None => {
                let bytes = binding_bytes(tensor);
                let remedy = Remedy::of(tensor.shape.first().copied().unwrap_or(1), bytes, limit);
                let (what, tensor) = (format!("{}: its {which}", label(self.node)), tensor.clone());
                Err(PlanError::TooLarge { what, tensor, bytes, unit: "binding", limit, remedy })
            }
        }
    }

    /// The node at once.
    fn whole(&self) -> Result<Recorded, PlanError> {
        let recording = self.node.op.recorded(&self.inputs, &self.outputs, self.machine);
        check_recording(self.node, &recording, &self.outputs, self.machine)?;
        let whole = |tensor: &Tensor| Piece { offset: 0, bytes: binding_bytes(tensor) };
        let (inputs, outputs) = (self.inputs.iter().map(whole).collect(), self.outputs.iter().map(whole).collect());
        let scratch = recording.scratch.clone();
        Ok(Recorded { parts: vec![Part { recording, inputs, outputs }], scratch, inputs: Vec::new() })
    }

    /// The first update of a row, on the tensors of all of them.
    fn record_row(mut self, row: &Row) -> Result<Recorded, PlanError> {
        for at in self.node.op.by_element(&self.inputs) {
            self.inputs[at] = self.inputs[at].shaped([row.elements]);
        }
        self.outputs = self.outputs.iter().map(|output| output.shaped([row.elements])).collect();
        match self.node.op.outputs(&self.inputs) {
            Ok(made) if made == self.outputs => self.whole(),
            made => {
                let problem =
                    format!("it says that it goes through elements one by one, and of a row it makes {made:?}");
                Err(PlanError::Fault { what: label(self.node), problem })
            }
        }
    }

    /// The node a few images at a time, as many as bindings hold; `None` where its op computes no image by itself, or not
    /// even the least number of images fits that starts where bindings may start.
    fn split(&self) -> Result<Option<Recorded>, PlanError> {
        let Some(images) = self.outputs.first().and_then(|output| output.shape.first().copied()) else {
            return Ok(None);
        };
        let Some(by_image) = self.node.op.by_image(&self.inputs, images) else { return Ok(None) };
        let runs = |at: usize| by_image.inputs.contains(&at);
        let along = || {
            let inputs = self.inputs.iter().enumerate().filter(|(at, _)| runs(*at)).map(|(_, tensor)| tensor);
            inputs.chain(&self.outputs)
        };
        if along().any(|tensor| tensor.shape.first() != Some(&images)) || !self.node.op.updates().is_empty() {
            let problem = "it says that it computes images by themselves, and not all of their tensors have as many";
            return Err(PlanError::Fault { what: label(self.node), problem: problem.to_owned() });
        }
        let others = self.inputs.iter().enumerate().filter(|(at, _)| !runs(*at));
        let (limit, alignment) = (self.machine.max_binding_bytes, self.machine.offset_alignment.max(1));
        if others.into_iter().any(|(_, tensor)| binding_bytes(tensor) > limit) {
            return Ok(None);
        }
        let each = || along().map(|tensor| tensor.bytes() / images);
        let step = each().fold(1, |step, bytes| lcm(step, alignment / gcd(alignment, bytes)));
        let most = each().map(|bytes| limit / bytes.max(1)).min().unwrap_or(0) / step * step;
        if most == 0 {
            return Ok(None);
        }
        // As even as can be, so that most parts share their builds.
        let size = images.div_ceil(images.div_ceil(most)).next_multiple_of(step);
        let mut split = Recorded::default();
        for first in (0..images).step_by(size) {
            let part = self.part(first, size.min(images - first), images)?;
            for (at, &bytes) in part.recording.scratch.iter().enumerate() {
                split.scratch.resize(split.scratch.len().max(at + 1), 0);
                split.scratch[at] = split.scratch[at].max(bytes);
            }
            split.parts.push(part);
        }
        Ok(Some(split))
    }

    /// The calls for `count` images of all, from `first` on.
    fn part(&self, first: usize, count: usize, images: usize) -> Result<Part, PlanError> {
        let fault = |problem: String| PlanError::Fault { what: label(self.node), problem };
        let Some(by_image) = self.node.op.by_image(&self.inputs, count) else {
            return Err(fault(format!("it computes images by themselves, but not {count}")));
        };
        let fewer = |tensor: &Tensor| {
            let mut sizes = tensor.shape.to_vec();
            sizes[0] = count;
            tensor.shaped(sizes)
        };
        let some = |(at, tensor): (usize, &Tensor)| {
            if by_image.inputs.contains(&at) { fewer(tensor) } else { tensor.clone() }
        };
        let inputs: Vec<Tensor> = self.inputs.iter().enumerate().map(some).collect();
        let outputs: Vec<Tensor> = self.outputs.iter().map(fewer).collect();
        match by_image.op.outputs(&inputs) {
            Ok(made) if made == outputs => {}
            made => return Err(fault(format!("of {count} images it makes {made:?}"))),
        }
        // With the tiles that were chosen for the whole batch.
        let machine = &*self.machine.asked(|| self.node.op.asked(&self.inputs));
        let mut recording = Recording::default();
        by_image.op.record(&Io { inputs: &inputs, outputs: &outputs, machine }, &mut recording);
        check_recording(self.node, &recording, &outputs, machine)?;
        let piece = |whole: &Tensor, part: &Tensor| Piece {
            offset: if whole == part { 0 } else { whole.bytes() / images * first },
            bytes: binding_bytes(part),
        };
        let pieces = |whole: &[Tensor], part: &[Tensor]| whole.iter().zip(part).map(|(a, b)| piece(a, b)).collect();
        let (inputs, outputs) = (pieces(&self.inputs, &inputs), pieces(&self.outputs, &outputs));
        Ok(Part { recording, inputs, outputs })
    }
}

impl Recorded {
    /// Bytes of the scratch memories, as they are bound.
    pub(super) fn scratch_bytes(&self) -> impl Iterator<Item = usize> + '_ {
        self.scratch.iter().map(|&bytes| round_up(bytes))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: usize, b: usize) -> usize {
    a / gcd(a, b).max(1) * b
}
