//! What is demanded of a program without a GPU: tame numbers, gradients that are derivatives, compositions that agree.

use std::fmt;

use super::again::again;
use super::composition::composition;
use super::flow::Flow;
use super::fusion::fusion;
use super::{Built, Pool, Program, ProgramError, Step};
use crate::graph::{Arrays, Draw, Graph, Source, Value, interpret, numbers};
use crate::kernel::Elem;
use crate::reference::{Array, Random};
use crate::verify::outside::check_size;
use crate::verify::tolerance::{GRADIENT, UNCLEAR};

/// The largest number that a value of a tame program holds: far below what f16 holds, so that no sum of it overflows.
const TAME: f64 = 1e3;

/// Steps of the numerical derivative.
const STEP: f64 = 1e-5;

/// Numbers that a program is tried on before it is given up for its kinks.
const DRAWS: u64 = 4;

/// Which demand was not met. A program is shrunk to a smaller one that fails in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is no program: an op refuses its inputs, or no gradient reaches a leaf that must have one.
    Build,
    /// The gradient rules do not give the derivative of the maths.
    Gradient,
    /// An op's composition gives other numbers than the op.
    Composition,
    /// The graph fused gives other numbers.
    Fusion,
    /// Values made again for the backward pass change a bit.
    Again,
    /// The planner refuses.
    Plan,
    /// A kernel gives other numbers than its maths, or does not become a pipeline.
    Kernel,
    /// Every kernel is right by itself, and the program's outputs are further off than honest f32 would be.
    EndToEnd,
    /// With memory reused the bits are others than without.
    Reuse,
    /// A second run gives other bits than the first.
    Repeat,
    /// The machine is lost, or out of memory.
    Machine,
}

/// How a program fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which demand was not met.
    pub kind: Kind,
    /// The op at fault, where one is known.
    pub op: Option<&'static str>,
    /// What was found.
    pub text: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl fmt::Display) -> Self {
        Self { kind, op: None, text: text.to_string() }
    }

    /// Whether another program fails in the same way. A refusal is the same where its words are: there are many.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let words = |failure: &Self| failure.text.chars().filter(|letter| letter.is_alphabetic()).collect::<String>();
        let refusal = matches!(self.kind, Kind::Build | Kind::Plan);
        (self.kind, self.op) == (other.kind, other.op) && (!refusal || words(self) == words(other))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Build => "is no program",
            Kind::Gradient => "gradient",
            Kind::Composition => "composition",
            Kind::Fusion => "fusion",
            Kind::Again => "made again",
            Kind::Plan => "plan",
            Kind::Kernel => "kernel",
            Kind::EndToEnd => "end to end",
            Kind::Reuse => "reuse of memory",
            Kind::Repeat => "repetition",
            Kind::Machine => "machine",
        };
        write!(f, "{kind}: {}", self.text)
    }
}

/// A program that passed what can be checked on paper.
pub(super) struct Checked {
    pub(super) built: Built,
    /// With compositions in the place of ops; nothing where no op has one, or its numbers are untamed.
    pub(super) composed: Option<Built>,
    /// With values made again for the backward pass; nothing where there are none.
    pub(super) again: Option<Built>,
    /// Whether kinks left nothing to say about the gradients.
    pub(super) kinked: bool,
}

/// What the numbers of a program allow to say.
pub(super) enum Paper {
    Checked(Box<Checked>),
    /// Some number is none, or too large for f16 sums.
    Untamed,
    Failed(Failure),
}

/// Checks a program in f64.
pub(super) fn on_paper(program: &Program, pool: &Pool) -> Paper {
    let built = match valid(program, pool) {
        Ok(built) => built,
        Err(error) => return Paper::Failed(Failure::new(Kind::Build, error)),
    };
    let truth = program.truth(&built, 0);
    if let Some(failure) = senseless_gradient(&built, &truth) {
        return Paper::Failed(failure);
    }
    if !tame(&built.graph, &truth) {
        return Paper::Untamed;
    }
    let kinked = match gradient(program, &built) {
        Ok(kinked) => kinked,
        Err(failure) => return Paper::Failed(failure),
    };
    let agrees = || {
        fusion(program, &built, &truth)?;
        let composed = composition(program, &built, &truth)?;
        if let Some(composed) = &composed {
            // What was taken apart is what fusion finds again.
            fusion(program, composed, &program.truth(composed, 0))?;
        }
        Ok((composed, again(program, &built, &truth)?))
    };
    match agrees() {
        Ok((composed, again)) => Paper::Checked(Box::new(Checked { built, composed, again, kinked })),
        Err(failure) => Paper::Failed(failure),
    }
}

/// Whether a program is worth checking: its numbers are tame, or it is at fault without a look at them.
pub(super) fn is_worth_it(program: &Program, pool: &Pool) -> bool {
    valid(program, pool).map_or(true, |built| {
        let truth = program.truth(&built, 0);
        senseless_gradient(&built, &truth).is_some() || tame(&built.graph, &truth)
    })
}

fn valid(program: &Program, pool: &Pool) -> Result<Built, ProgramError> {
    if !program.leaves_anything() {
        let reason = "there is no loss, no output and no update: nothing would run".to_owned();
        return Err(ProgramError::Step { at: program.steps.len(), reason });
    }
    let built = program.build(false)?;
    check_size(&built.graph, 1).map_err(ProgramError::Large)?;
    let flow = Flow::of(program, &program.learned(), pool)?;
    for (at, step) in program.steps.iter().enumerate() {
        if let Step::Gradient(of) = step
            && !flow.is_smooth_leaf(*of)
        {
            let reason = format!("gradients are those of leaves of f32 or f16 that are no labels: v{of} is none");
            return Err(ProgramError::Step { at, reason });
        }
    }
    match program.losses.iter().find(|&&loss| !flow.smooth[loss]) {
        Some(loss) if !program.learned().is_empty() => {
            let reason = format!("v{loss} is no loss: gradients do not flow through all that it depends on");
            Err(ProgramError::Step { at: program.steps.len(), reason })
        }
        _ => Ok(built),
    }
}

pub(super) fn tame(graph: &Graph, arrays: &Arrays<f64>) -> bool {
    graph.values().all(|value| is_tame(graph, arrays, value))
}

fn is_tame(graph: &Graph, arrays: &Arrays<f64>, value: Value) -> bool {
    let most = if graph.tensor(value).elem == Elem::U32 { f64::MAX } else { TAME };
    arrays[value.index()].data.iter().all(|number| number.abs() <= most)
}

/// A gradient that is no number where everything before the gradients is tame: large ones may be honest, these are not.
fn senseless_gradient(built: &Built, arrays: &Arrays<f64>) -> Option<Failure> {
    let Built { graph, backward, .. } = built;
    let mut forward = graph.values().take_while(|value| value.index() < backward.start);
    if !forward.all(|value| is_tame(graph, arrays, value)) {
        return None;
    }
    let senseless = |value: &Value| arrays[value.index()].data.iter().any(|number| !number.is_finite());
    let mut made = graph.values().filter(|value| backward.contains(&value.index()));
    let Source::Node(node, _) = graph.source(made.find(senseless)?) else { return None };
    let op = graph.nodes()[*node].op.name();
    let text = format!("{op}, made by a gradient rule, gives what is no number");
    Some(Failure { op: Some(op), ..Failure::new(Kind::Gradient, text) })
}

/// Compares the gradient with the derivative, and says whether kinks kept it from doing so.
fn gradient(program: &Program, built: &Built) -> Result<bool, Failure> {
    if built.gradients.is_empty() {
        return Ok(false);
    }
    for draw in 0..DRAWS {
        let Slope { rule, derivative, scale, doubt } = slope(program, built, draw);
        // NaN is a draw that says nothing: the first is known to be tame.
        if doubt.is_nan() || doubt > UNCLEAR * scale {
            continue;
        }
        let error = (rule - derivative).abs();
        return match error <= GRADIENT * scale + doubt {
            true => Ok(false),
            false => {
                let text = format!("rule {rule:e}, derivative {derivative:e}, relative error {:e}", error / scale);
                Err(Failure::new(Kind::Gradient, text))
            }
        };
    }
    Ok(true)
}

/// The derivative of the losses along a random direction of the leaves that ask for gradients.
struct Slope {
    /// By the rules.
    rule: f64,
    /// By differences.
    derivative: f64,
    /// What an error is measured by.
    scale: f64,
    /// How far the derivative is off, judged by a second one.
    doubt: f64,
}

fn slope(program: &Program, built: &Built, draw: u64) -> Slope {
    let direction = |leaf: Value| {
        let mut random = Random::named(program.seed ^ draw, &format!("direction{}", leaf.index()));
        numbers(&built.graph.tensor(leaf).shape, Draw::Normal, &mut random)
    };
    let directions: Vec<Array<f64>> = built.gradients.iter().map(|pair| direction(pair.0)).collect();
    let at = |step: f64| {
        let leaf = |value: Value, _: &_| {
            let numbers = program.numbers(built, value, draw);
            let moved = built.gradients.iter().position(|pair| pair.0 == value);
            Ok::<_, std::convert::Infallible>(match moved {
                Some(moved) if step != 0.0 => numbers.zip(&directions[moved], |number, by| number + step * by),
                _ => numbers,
            })
        };
        let Ok(arrays) = interpret(&built.graph, leaf);
        arrays
    };
    let terms = |arrays: &Arrays<f64>| -> Vec<f64> {
        let pairs = built.seeds.iter().map(|&(loss, cotangent)| (&arrays[loss.index()], &arrays[cotangent.index()]));
        pairs.flat_map(|(loss, cotangent)| loss.zip(cotangent, |a, b| a * b).data).collect()
    };
    let loss = |step: f64| terms(&at(step)).iter().sum::<f64>();
    let arrays = at(0.0);
    let here = terms(&arrays).iter().sum::<f64>();
    let [near, middle, far] = [STEP, 2.0 * STEP, 4.0 * STEP].map(|step| [loss(step), loss(-step)]);
    let odd = |[ahead, behind]: [f64; 2]| ahead - behind;
    let derivative = (8.0 * odd(near) - odd(middle)) / (12.0 * STEP);
    let other = (8.0 * odd(middle) - odd(far)) / (24.0 * STEP);
    // At a kink both derivatives agree, and the slopes to either side do not: what is left of their difference, which
    // shrinks with the step where there is none.
    let even = |[ahead, behind]: [f64; 2], step: f64| (ahead - 2.0 * here + behind) / step;
    let kink = (4.0 * even(near, STEP) - even(far, 4.0 * STEP)).abs() / 3.0;
    let pairs = || {
        built
            .gradients
            .iter()
            .zip(&directions)
            .flat_map(|((_, grad), by)| arrays[grad.index()].zip(by, |a, b| a * b).data)
    };
    let rule: f64 = pairs().sum();
    let sizes: f64 = pairs().map(f64::abs).sum();
    let rounding = 8.0 * f64::EPSILON * terms(&arrays).iter().map(|term| term.abs()).sum::<f64>() / STEP;
    let scale = rule.abs().max(derivative.abs()).max(1e-2 * sizes).max(1e-9);
    Slope { rule, derivative, scale, doubt: (derivative - other).abs() + kink + rounding }
}
