//! A program as a graph, fused or with composed ops in the place of those that have a composition.

use std::ops::Range;

use super::{Leaf, Parts, Program, Step};
use crate::graph::{Arrays, Draw, Graph, GraphError, Source, Tensor, Value, interpret, numbers, round};
use crate::ops;
use crate::reference::{Array, Random};

/// Why a program is none.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A step is at odds with the others.
    #[error("step {at}: {reason}")]
    Step {
        /// Which step.
        at: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// More than is computed for a file from outside.
    #[error("too large: {0}")]
    Large(String),
    /// A line of a text cannot be read.
    #[error("line {line}: {reason}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// A program as a graph.
#[derive(Debug)]
pub struct Built {
    /// The graph, gradients included.
    pub graph: Graph,
    /// The program's values in it; `None` where a composition does not make what nothing uses.
    pub values: Vec<Option<Value>>,
    /// Losses and the numbers that their gradients start from.
    pub seeds: Vec<(Value, Value)>,
    /// Leaves and their gradients.
    pub gradients: Vec<(Value, Value)>,
    /// The numbers of the values that the gradient rules made.
    pub backward: Range<usize>,
    /// How many nodes stand there as compositions.
    pub composed: usize,
}

impl Program {
    /// The program as a graph. With `composed`, ops that have a composition are replaced by it, before gradients are
    /// taken: so those too come about in another way.
    ///
    /// # Errors
    /// When an op refuses its inputs, or a gradient is asked for that there is none of.
    pub fn build(&self, composed: bool) -> Result<Built, ProgramError> {
        self.built(composed, Parts::None)
    }

    /// The program as a graph whose backward pass makes these parts of it again.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_again(&self, parts: Parts) -> Result<Built, ProgramError> {
        self.built(false, parts)
    }

    fn built(&self, composed: bool, parts: Parts) -> Result<Built, ProgramError> {
        let mut built = Built {
            graph: Graph::new(),
            values: vec![],
            seeds: vec![],
            gradients: vec![],
            backward: 0..0,
            composed: 0,
        };
        let uses = self.uses();
        let mut gradients = None;
        for (at, step) in self.steps.iter().enumerate() {
            let refuse = |reason: String| ProgramError::Step { at, reason };
            match step {
                Step::Leaf(leaf) => built.leaf(leaf)?,
                Step::Apply { op, inputs, outputs } => {
                    let inputs = built.known(inputs).map_err(refuse)?;
                    let made = built.values.len();
                    let wanted = |output: usize| uses.get(made + output).is_some_and(|&uses| uses > 0);
                    if composed
                        && let Some(values) = op.composition(&inputs, &mut built.graph)?
                        && values.iter().enumerate().all(|(output, value)| value.is_some() || !wanted(output))
                    {
                        built.values.extend(values);
                        built.composed += 1;
                    } else {
                        let values = built.graph.apply_shared(op.clone(), &inputs)?;
                        built.values.extend(values.into_iter().map(Some));
                    }
                    if built.values.len() != made + outputs {
                        return Err(refuse(format!("{} makes another number of values", op.name())));
                    }
                }
                Step::Gradient(of) => {
                    let all = match &gradients {
                        Some(all) => all,
                        None => gradients.insert(built.differentiate(self, at, parts)?),
                    };
                    let found = all.iter().find(|(value, _)| value == of).and_then(|(_, gradient)| *gradient);
                    let gradient = found.ok_or_else(|| refuse(format!("no gradient reaches v{of}")))?;
                    let leaf = built.known(&[*of]).map_err(refuse)?[0];
                    built.gradients.push((leaf, gradient));
                    built.values.push(Some(gradient));
                }
            }
        }
        for &value in self.losses.iter().chain(&self.outputs) {
            let known = built.known(&[value]).map_err(|reason| ProgramError::Step { at: self.steps.len(), reason })?;
            built.graph.output(format!("v{value}"), known[0]);
        }
        Ok(built)
    }

    /// The numbers of a leaf of the built graph: as its type can hold them, other ones for each draw.
    ///
    /// They follow from the seed and the leaf's name alone.
    #[must_use]
    pub fn numbers(&self, built: &Built, value: Value, draw: u64) -> Array<f64> {
        let tensor = built.graph.tensor(value);
        let name = match built.graph.source(value) {
            Source::Input(name) | Source::Stored { name, .. } => name,
            Source::Node(..) => "",
        };
        let own = built.values.iter().position(|known| *known == Some(value));
        let step = own.and_then(|own| {
            let (firsts, _) = self.numbering();
            firsts.binary_search(&own).ok().map(|at| &self.steps[at])
        });
        let look = if let Some(Step::Leaf(leaf)) = step { leaf.draw } else { Draw::Normal };
        let seed = self.seed.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        round(&numbers(&tensor.shape, look, &mut Random::named(seed, name)), tensor.elem)
    }

    /// Every value of the built graph in f64.
    #[must_use]
    pub fn truth(&self, built: &Built, draw: u64) -> Arrays<f64> {
        let leaf = |value: Value, _: &Source| Ok::<_, std::convert::Infallible>(self.numbers(built, value, draw));
        let Ok(arrays) = interpret(&built.graph, leaf);
        arrays
    }
}

impl Built {
    fn leaf(&mut self, leaf: &Leaf) -> Result<(), GraphError> {
        let name = format!("v{}", self.values.len());
        let value = match leaf.home {
            None => self.graph.input(name, leaf.tensor.clone()),
            Some(home) => self.graph.stored(home, &name, leaf.tensor.clone())?,
        };
        self.values.push(Some(value));
        Ok(())
    }

    fn known(&self, values: &[usize]) -> Result<Vec<Value>, String> {
        let known = |value: &usize| {
            self.values.get(*value).copied().flatten().ok_or_else(|| format!("v{value} was not made before"))
        };
        values.iter().map(known).collect()
    }

    /// The gradients of all losses with respect to all leaves that ask for one; `at` is the step that asks first.
    fn differentiate(
        &mut self,
        program: &Program,
        at: usize,
        parts: Parts,
    ) -> Result<Vec<(usize, Option<Value>)>, ProgramError> {
        let refuse = |reason: String| ProgramError::Step { at, reason };
        for (number, loss) in self.known(&program.losses).map_err(refuse)?.into_iter().enumerate() {
            let tensor: Tensor = self.graph.tensor(loss).clone();
            let cotangent = self.graph.input(format!("cotangent{number}"), tensor);
            self.seeds.push((loss, cotangent));
        }
        let learned = program.learned();
        let wrt = self.known(&learned).map_err(refuse)?;
        let first = self.graph.values().count();
        let parts = parts.of(&self.graph, program.seed);
        let made = ops::gradients_again(&mut self.graph, &self.seeds, &wrt, &parts)?;
        self.backward = first..self.graph.values().count();
        Ok(learned.into_iter().zip(made).collect())
    }
}
