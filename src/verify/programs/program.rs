//! A program as data: leaves, ops applied, gradients, and what is wanted of it.

use std::sync::Arc;

use crate::graph::{Draw, Op, Tensor};

/// The homes that stored leaves may live in: those of learned weights, and those of what an op updates.
pub(super) const HOMES: [&str; 5] = ["parameters", "momentum", "statistics", "averages", "counts"];

/// A value that is given: anew for each run, or kept between runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// What it is.
    pub tensor: Tensor,
    /// What its numbers look like.
    pub draw: Draw,
    /// The home that keeps it; an input of the graph where there is none.
    pub home: Option<&'static str>,
}

/// A step of a program. Each makes one value, an op as many as it has outputs; values are numbered as they are made.
#[derive(Clone, Debug)]
pub enum Step {
    /// A value from outside.
    Leaf(Leaf),
    /// An op applied to values made before.
    Apply {
        /// The op.
        op: Arc<dyn Op>,
        /// The numbers of the values.
        inputs: Vec<usize>,
        /// How many values it makes.
        outputs: usize,
    },
    /// The gradient of the losses with respect to a leaf.
    Gradient(usize),
}

impl Step {
    /// How many values it makes.
    #[must_use]
    pub fn makes(&self) -> usize {
        match self {
            Self::Apply { outputs, .. } => *outputs,
            _ => 1,
        }
    }

    /// The values that it uses.
    #[must_use]
    pub fn uses(&self) -> &[usize] {
        match self {
            Self::Leaf(_) => &[],
            Self::Apply { inputs, .. } => inputs,
            Self::Gradient(of) => std::slice::from_ref(of),
        }
    }
}

/// What is computed, differentiated and wanted, on which numbers.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Values that gradients flow from, each times random numbers. Made before the first gradient.
    pub losses: Vec<usize>,
    /// Other values that are wanted after a run.
    pub outputs: Vec<usize>,
    /// What the numbers of its leaves are drawn from.
    pub seed: u64,
}

impl Program {
    /// How many ops it applies.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Apply { .. })).count()
    }

    /// The ops that it applies.
    pub fn ops(&self) -> impl Iterator<Item = &Arc<dyn Op>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Apply { op, .. } => Some(op),
            _ => None,
        })
    }

    /// Whether a run of it leaves anything behind: without, no node would run.
    #[must_use]
    pub fn leaves_anything(&self) -> bool {
        !self.losses.is_empty() || !self.outputs.is_empty() || self.ops().any(|op| !op.updates().is_empty())
    }

    /// The number of the first value of each step, and how many there are in all.
    pub(super) fn numbering(&self) -> (Vec<usize>, usize) {
        let mut next = 0;
        let firsts = self.steps.iter().map(|step| {
            next += step.makes();
            next - step.makes()
        });
        (firsts.collect(), next)
    }

    /// How often each value is used: by steps, and by being wanted.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.numbering().1];
        let wanted = self.losses.iter().chain(&self.outputs);
        for &value in self.steps.iter().flat_map(Step::uses).chain(wanted) {
            if let Some(count) = uses.get_mut(value) {
                *count += 1;
            }
        }
        uses
    }

    /// The leaves whose gradients are asked for.
    pub(super) fn learned(&self) -> Vec<usize> {
        let of = |step: &Step| if let Step::Gradient(of) = step { Some(*of) } else { None };
        self.steps.iter().filter_map(of).collect()
    }
}
