//! Looking inside a run: up to a step, or to the first value that is not a number.

use std::fmt;
use std::ops::Range;

use super::memory::write;
use super::{Error, Executor};
use crate::graph::{Tensor, Value};
use crate::kernel::{Access, Elem};
use crate::plan::{Buffer, PlannedNode};

/// The first value of a run that holds NaN or infinity, and who wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct BadValue {
    /// The step that wrote it.
    pub step: usize,
    /// The step's kernel.
    pub kernel: &'static str,
    /// Op and scope of its node.
    pub label: String,
    /// The value.
    pub value: Value,
    /// What it is.
    pub tensor: Tensor,
    /// Where the first bad element is, an index an axis.
    pub index: Vec<usize>,
    /// The bad number.
    pub number: f32,
    /// How many elements are bad.
    pub count: usize,
    /// Inputs and stored tensors that the node reads and that were bad before it ran.
    pub given: Vec<String>,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, kernel, label, tensor, index, number, count, .. } = self;
        write!(f, "step {step}, {kernel} of {label}, wrote {number} at {index:?} of {tensor} ({count} bad in all)")?;
        match self.given.is_empty() {
            true => Ok(()),
            false => write!(f, "; bad before it ran: {}", self.given.join(", ")),
        }
    }
}

/// What outputs and scratch memory hold before a node runs alone: NaN in f32 and in f16, and no likely u32.
const POISON: u8 = 0xFF;

impl Executor {
    /// Runs the first `steps` steps: every value that the last of them uses can then be read.
    ///
    /// # Errors
    /// When the plan has fewer steps, or the device is lost.
    pub fn run_to(&self, steps: usize) -> Result<(), Error> {
        self.run_steps(0..steps)
    }

    /// Runs some steps, on what the steps before them left.
    ///
    /// # Errors
    /// When the plan has no such steps, or the device is lost.
    pub fn run_steps(&self, steps: Range<usize>) -> Result<(), Error> {
        if steps.start > steps.end || steps.end > self.steps.len() {
            let reason = format!("the plan has {} steps", self.steps.len());
            return Err(Error::Invalid { during: format!("running steps {} to {}", steps.start, steps.end), reason });
        }
        self.submit(steps)
    }

    /// Runs one node of the plan alone, on what the nodes before it left. Its scratch memory, and what it makes in
    /// slots, hold NaN first: an element that it leaves unwritten shows, and memory read before it is written.
    ///
    /// # Errors
    /// When the plan has no such node, or the device is lost.
    pub fn run_node(&self, node: usize) -> Result<(), Error> {
        let Some(node) = self.plan.nodes().get(node) else {
            let reason = format!("the plan has {} nodes", self.plan.nodes().len());
            return Err(Error::Invalid { during: format!("running node {node}"), reason });
        };
        for step in &self.plan.steps()[node.steps.clone()] {
            for (binding, (_, access)) in step.kernel.bindings.iter().enumerate() {
                let (place, value) = (step.bindings[binding], step.values[binding]);
                let read = |value| node.inputs.iter().any(|&input| self.plan.owner(input) == self.plan.owner(value));
                let given = value.is_some_and(read);
                if *access == Access::Write && matches!(place.buffer, Buffer::Slot(_)) && !given {
                    let part = match value {
                        Some(value) => self.locate(value)?.0,
                        None => self.location(place, None),
                    };
                    write(&self.device, part, &vec![POISON; part.bytes], "filling outputs with NaN")?;
                }
            }
        }
        self.submit(node.steps.clone())
    }

    /// Runs node by node and reads what each wrote, up to the first value that holds NaN or infinity. The homes are
    /// put back to what they were; a plan with or without reuse will do, since values are read as soon as written.
    ///
    /// # Errors
    /// When the device is lost, or nothing can be read from it.
    pub fn first_bad_value(&self) -> Result<Option<BadValue>, Error> {
        let before = self.homes.snapshot()?;
        let found = self.search();
        self.homes.restore(&before)?;
        found
    }

    fn search(&self) -> Result<Option<BadValue>, Error> {
        for node in self.plan.nodes().iter().filter(|node| !node.steps.is_empty()) {
            self.submit(node.steps.clone())?;
            for &value in &node.outputs {
                if let Some((tensor, at, number, count)) = self.bad(value)? {
                    let writes = |step: &usize| {
                        let step = &self.plan.steps()[*step];
                        let mut uses = step.values.iter().zip(step.kernel.bindings);
                        uses.any(|(known, (_, access))| *known == Some(value) && *access == Access::Write)
                    };
                    let step = node.steps.clone().rev().find(writes).unwrap_or(node.steps.start);
                    return Ok(Some(BadValue {
                        step,
                        kernel: self.plan.steps()[step].kernel.name,
                        label: node.label.clone(),
                        value,
                        index: coordinates(at, &tensor.shape),
                        tensor,
                        number,
                        count,
                        given: self.bad_before(node)?,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The first bad element of a value, and how many there are.
    fn bad(&self, value: Value) -> Result<Option<(Tensor, usize, f32, usize)>, Error> {
        let (_, tensor) = self.locate(value)?;
        if tensor.elem == Elem::U32 {
            return Ok(None);
        }
        let tensor = tensor.clone();
        let numbers = self.read(value)?;
        let mut bad = numbers.iter().enumerate().filter(|(_, number)| !number.is_finite());
        let first = bad.next().map(|(at, number)| (at, *number));
        Ok(first.map(|(at, number)| (tensor, at, number, 1 + bad.count())))
    }

    fn bad_before(&self, node: &PlannedNode) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for &value in &node.inputs {
            let owner = self.plan.owner(value);
            let written = node.outputs.iter().any(|&output| self.plan.owner(output) == owner);
            let Some(place) = self.plan.place(value) else { continue };
            if written || matches!(place.buffer, Buffer::Slot(_)) || self.bad(value)?.is_none() {
                continue;
            }
            names.push(match place.buffer {
                Buffer::Input(_) => format!("input `{}`", self.plan.place_name(place)),
                _ => self.plan.stored_name(place).unwrap_or_else(|| self.plan.place_name(place)),
            });
        }
        Ok(names)
    }
}

fn coordinates(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let here = at % size.max(1);
            at /= size.max(1);
            here
        })
        .collect();
    index.reverse();
    index
}
