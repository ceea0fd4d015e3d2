//! A gradient rule against the derivative of its maths: f64, one random direction, random cotangents, no GPU.

use crate::graph::{Arrays, Case, Graph, GraphError, Source, Value, interpret, numbers};
use crate::kernel::Elem;
use crate::reference::{Array, Random};
use crate::verify::record::{Differentiated, differentiated};
use crate::verify::tolerance::GRADIENT;

/// Step of the numerical derivative. Small enough that few elements cross a kink such as ReLU's.
const STEP: f64 = 2e-5;

/// Why a rule is not the derivative of its maths.
#[derive(Debug, thiserror::Error)]
pub enum GradientFault {
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A rule gave no gradient for an input that has one, or one for an input that has none.
    #[error("{case}: the rule says {found} for input {input}, the case expects {expected}")]
    Presence {
        /// The case.
        case: String,
        /// The input.
        input: usize,
        /// What the rule gave.
        found: &'static str,
        /// What the case says.
        expected: &'static str,
    },
    /// The rule differs from the derivative.
    #[error("{case}: rule {rule:e}, derivative {derivative:e}, relative error {error:e} is over {GRADIENT:e}")]
    Differs {
        /// The case.
        case: String,
        /// Along the direction, by the rule.
        rule: f64,
        /// Along the direction, numerically.
        derivative: f64,
        /// Their relative difference.
        error: f64,
    },
}

/// Compares an op's gradient rule with the derivative of its maths along a random direction, all inputs at once.
///
/// Gives the relative error: 0 where no input has a gradient.
///
/// # Errors
/// When they differ, the rule is silent about an input that has a gradient or speaks of one that has none, the op has no
/// rule, or its shapes do not fit.
pub fn check_gradient(case: &Case, seed: u64) -> Result<f64, GradientFault> {
    let derived = Derived::of(case, seed)?;
    derived.judge(&derived.arrays, &derived.grads)
}

/// A case with its gradient rule applied, and its derivative along a random direction: what the rule is judged by.
pub(super) struct Derived {
    case: Case,
    /// The case's node, and those that the rule added.
    pub(super) graph: Graph,
    /// What the rule gives for each input.
    pub(super) grads: Vec<Option<Value>>,
    /// Every value of the graph, at the point where the derivative is taken.
    pub(super) arrays: Arrays<f64>,
    directions: Vec<Array<f64>>,
    derivative: f64,
}

impl Derived {
    pub(super) fn of(case: &Case, seed: u64) -> Result<Self, GradientFault> {
        let Differentiated { graph, inputs, seeds, gradients: grads } = differentiated(case, Elem::F32)?;
        let directions: Vec<Array<f64>> = (0..inputs.len())
            .map(|at| {
                let mut random = Random::named(seed, &format!("direction{at}"));
                let amount = f64::from(u8::from(case.inputs[at].differentiable));
                let drawn = numbers(&case.inputs[at].shape, crate::graph::Draw::Normal, &mut random);
                drawn.map(|value: f64| value * amount)
            })
            .collect();
        let at_step = |step: f64| evaluate(case, &graph, (&inputs, &directions), step, seed);
        let loss = |step: f64| {
            let arrays = at_step(step);
            let terms = seeds.iter().map(|&(output, cotangent)| (&arrays[output.index()], &arrays[cotangent.index()]));
            terms.map(|(output, cotangent)| dot(output, cotangent)).sum::<f64>()
        };
        let far = loss(2.0 * STEP) - loss(-2.0 * STEP);
        let near = loss(STEP) - loss(-STEP);
        let derivative = (8.0 * near - far) / (12.0 * STEP);
        let arrays = at_step(0.0);
        Ok(Self { case: case.clone(), grads, arrays, directions, derivative, graph })
    }

    /// Judges gradients, values of `arrays`: the relative error along the direction.
    pub(super) fn judge(&self, arrays: &Arrays<f64>, grads: &[Option<Value>]) -> Result<f64, GradientFault> {
        let case = &self.case;
        let said = |yes: bool| if yes { "a gradient" } else { "none" };
        for (at, (input, grad)) in case.inputs.iter().zip(grads).enumerate() {
            if input.differentiable != grad.is_some() {
                let (found, expected) = (said(grad.is_some()), said(input.differentiable));
                return Err(GradientFault::Presence { case: case.name(), input: at, found, expected });
            }
        }
        let pairs = || {
            let both = grads.iter().zip(&self.directions);
            both.filter_map(|(grad, direction)| Some((&arrays[(*grad)?.index()], direction)))
        };
        let derivative = self.derivative;
        let rule: f64 = pairs().map(|(grad, direction)| dot(grad, direction)).sum();
        // The direction may happen to be nearly orthogonal: then the terms, not their sum, say what an error is worth.
        let terms: f64 = pairs().flat_map(|(grad, direction)| grad.zip(direction, |a, b| (a * b).abs()).data).sum();
        let error = (rule - derivative).abs() / rule.abs().max(derivative.abs()).max(1e-2 * terms).max(1e-30);
        // Written so that NaN fails.
        if error <= GRADIENT {
            Ok(error)
        } else {
            Err(GradientFault::Differs { case: case.name(), rule, derivative, error })
        }
    }
}

fn evaluate(
    case: &Case,
    graph: &Graph,
    (inputs, directions): (&[Value], &[Array<f64>]),
    step: f64,
    seed: u64,
) -> Arrays<f64> {
    let computed = interpret(graph, |value, source| {
        Ok::<_, std::convert::Infallible>(match inputs.iter().position(|input| *input == value) {
            Some(at) => case.numbers(at, seed).zip(&directions[at], |value, direction| value + step * direction),
            None => {
                let name = match source {
                    Source::Input(name) | Source::Stored { name, .. } => name,
                    Source::Node(..) => "",
                };
                numbers(&graph.tensor(value).shape, crate::graph::Draw::Normal, &mut Random::named(seed, name))
            }
        })
    });
    match computed {
        Ok(arrays) => arrays,
    }
}

fn dot(a: &Array<f64>, b: &Array<f64>) -> f64 {
    a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum()
}
