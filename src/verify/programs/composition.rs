//! An op against the smaller ops that it is made of: the same values and gradients, in f64.

use super::check::{Failure, Kind, tame};
use super::{Built, Leaf, Program, ProgramError, Step};
use crate::graph::{Arrays, Case, Tensor};
use crate::kernel::Elem;

/// Relative error above which a composition is not its op: both are f64, and a long program loses some digits.
const LIMIT: f64 = 1e-9;

/// The largest relative error of a case's values and gradients when its op is composed of smaller ones, f64 throughout.
///
/// `None` for an op that has no composition.
///
/// # Errors
/// When the op, or its composition, refuses the case.
pub fn check_composition(case: &Case, seed: u64) -> Result<Option<f64>, ProgramError> {
    let mut program = Program { seed, ..Program::default() };
    for input in &case.inputs {
        let tensor = Tensor::new(input.shape.clone(), input.fixed.unwrap_or(Elem::F32));
        program.steps.push(Step::Leaf(Leaf { tensor, draw: input.draw, home: None }));
    }
    let count = case.inputs.len();
    let tensors = program.steps.iter().filter_map(|step| if let Step::Leaf(leaf) = step { Some(leaf) } else { None });
    let made = case.op.outputs(&tensors.map(|leaf| leaf.tensor.clone()).collect::<Vec<_>>());
    let outputs = made.map_or(1, |made| made.len());
    program.steps.push(Step::Apply { op: case.op.clone(), inputs: (0..count).collect(), outputs });
    program.losses.extend(case.seeds.iter().map(|seed| count + seed));
    let learned = (0..count).filter(|&input| case.has_gradient && case.inputs[input].differentiable);
    program.steps.extend(learned.map(Step::Gradient));
    if !case.op.updates().is_empty() {
        return Ok(None); // its inputs would have to be stored, and no composition updates
    }
    let [built, composed] = [program.build(false)?, program.build(true)?];
    if composed.composed == 0 {
        return Ok(None);
    }
    let errors = errors(&built, &program.truth(&built, 0), &composed, &program.truth(&composed, 0));
    Ok(Some(errors.into_iter().map(|(_, error)| error).fold(0.0, f64::max)))
}

/// Compares the program with the same of composed ops, on two draws: one may stand on a kink.
pub(super) fn composition(program: &Program, built: &Built, truth: &Arrays<f64>) -> Result<Option<Built>, Failure> {
    let composed = program.build(true).map_err(|error| Failure::new(Kind::Composition, error))?;
    if composed.composed == 0 {
        return Ok(None);
    }
    let numbers = program.truth(&composed, 0);
    if let Some(text) = difference(built, truth, &composed, &numbers) {
        let again = difference(built, &program.truth(built, 1), &composed, &program.truth(&composed, 1));
        if again.is_some() {
            return Err(Failure::new(Kind::Composition, text));
        }
    }
    Ok(tame(&composed.graph, &numbers).then_some(composed))
}

/// The first value that differs, in words.
fn difference(built: &Built, truth: &Arrays<f64>, composed: &Built, numbers: &Arrays<f64>) -> Option<String> {
    let found = errors(built, truth, composed, numbers);
    let (at, error) = found.into_iter().find(|(_, error)| *error > LIMIT)?;
    Some(format!("v{at} differs from the composition's, relative error {error:e}"))
}

/// For each value that both make, the largest error, relative to its largest number or to 1.
fn errors(built: &Built, truth: &Arrays<f64>, composed: &Built, numbers: &Arrays<f64>) -> Vec<(usize, f64)> {
    let pairs = built.values.iter().zip(&composed.values).enumerate();
    let both = pairs.filter_map(|(at, (one, other))| Some((at, (*one)?, (*other)?)));
    both.map(|(at, one, other)| {
        let (one, other) = (&truth[one.index()], &numbers[other.index()]);
        let largest = one.data.iter().fold(1.0f64, |largest, number| largest.max(number.abs()));
        let off = one.zip(other, |a, b| (a - b).abs()).data.into_iter();
        // What is no number is infinitely far off; f64::max would lose it.
        let off = off.map(|off| if off.is_nan() { f64::INFINITY } else { off }).fold(0.0, f64::max);
        (at, if one.shape == other.shape { off / largest } else { f64::INFINITY })
    })
    .collect()
}
