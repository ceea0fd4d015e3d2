//! Where gradients can flow in a program, so that none is asked for that its ops do not promise.

use super::{Leaf, Pool, Program, ProgramError, Step};
use crate::graph::Draw;
use crate::kernel::Elem;

/// What is known of the gradients of a program's values.
#[derive(Debug)]
pub(super) struct Flow {
    /// Whether a value depends on a learned leaf.
    pub(super) depends: Vec<bool>,
    /// Whether the derivative of a value with respect to every learned leaf is what the rules give.
    pub(super) smooth: Vec<bool>,
    /// For each value the values that it has gradients for.
    sources: Vec<Vec<usize>>,
    /// Whether a value is a leaf whose numbers are no whole ones, among which a maximum has ties and no derivative.
    smooth_leaf: Vec<bool>,
}

impl Flow {
    /// Follows a program whose leaves `learned` are differentiated.
    pub(super) fn of(program: &Program, learned: &[usize], pool: &Pool) -> Result<Self, ProgramError> {
        let mut flow = Self { depends: Vec::new(), smooth: Vec::new(), sources: Vec::new(), smooth_leaf: Vec::new() };
        for (at, step) in program.steps.iter().enumerate() {
            let smooth = |leaf: &Leaf| leaf.tensor.elem != Elem::U32 && !matches!(leaf.draw, Draw::Labels(_));
            let smooth = matches!(step, Step::Leaf(leaf) if smooth(leaf));
            flow.smooth_leaf.extend(std::iter::repeat_n(smooth, step.makes()));
            match step {
                Step::Leaf(_) => flow.add(learned.contains(&flow.depends.len()), true, Vec::new()),
                // A gradient is a function of every leaf, and we have no second derivatives.
                Step::Gradient(_) => flow.add(true, false, Vec::new()),
                Step::Apply { op, inputs, outputs } => {
                    let Some(manner) = pool.manner(&**op, inputs.len()) else {
                        let reason = format!("no case tries {} on {} inputs", op.name(), inputs.len());
                        return Err(ProgramError::Step { at, reason });
                    };
                    let depends = inputs.iter().any(|&input| flow.depends[input]);
                    let passes = |(&input, &has): (&usize, &bool)| !flow.depends[input] || (has && flow.smooth[input]);
                    let through = inputs.iter().zip(&manner.differentiable).all(passes);
                    let sources: Vec<usize> = inputs.iter().copied().filter(|&input| flow.depends[input]).collect();
                    for output in 0..*outputs {
                        let smooth = !depends || (through && manner.seeds.contains(&output));
                        flow.add(depends, smooth, sources.clone());
                    }
                }
            }
        }
        Ok(flow)
    }

    fn add(&mut self, depends: bool, smooth: bool, sources: Vec<usize>) {
        self.depends.push(depends);
        self.smooth.push(smooth);
        self.sources.push(sources);
    }

    /// Whether a value is a leaf that has a gradient.
    pub(super) fn is_smooth_leaf(&self, value: usize) -> bool {
        self.smooth_leaf[value]
    }

    /// The values that get a gradient when these losses are differentiated.
    pub(super) fn reached(&self, losses: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.depends.len()];
        for &loss in losses {
            reached[loss] |= self.depends[loss];
        }
        for value in (0..reached.len()).rev().filter(|&value| self.depends[value]) {
            if reached[value] {
                for &source in &self.sources[value] {
                    reached[source] = true;
                }
            }
        }
        reached
    }
}
