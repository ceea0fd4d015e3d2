//! An op against the smaller ops that it is made of: the same values and gradients, in f64.

use super::check::{Failure, Kind, tame};
use super::{Built, Leaf, Program, ProgramError, Step};
use crate::graph::{Arrays, Case, Source, Tensor, Value, interpret};
use crate::kernel::Elem;
use crate::reference::Random;
use crate::verify::tolerance::{COMPOSITION, NEXT_TO_NOTHING};

/// The largest relative error of a case's values and gradients when its op is composed of smaller ones, f64 throughout.
///
/// `None` for an op that has no composition.
///
/// # Errors
/// When the op, or its composition, refuses the case.
pub fn check_composition(case: &Case, seed: u64) -> Result<Option<f64>, ProgramError> {
    if !case.op.updates().is_empty() {
        return Ok(None); // its inputs would have to be stored, and no composition updates
    }
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
    if let Some(text) = difference(program, (built, truth, 0), &composed, &numbers) {
        let again = difference(program, (built, &program.truth(built, 1), 1), &composed, &program.truth(&composed, 1));
        if again.is_some() {
            return Err(Failure::new(Kind::Composition, text));
        }
    }
    Ok(tame(&composed.graph, &numbers).then_some(composed))
}

/// The first value that differs, in words.
fn difference(
    program: &Program,
    (built, truth, draw): (&Built, &Arrays<f64>, u64),
    composed: &Built,
    numbers: &Arrays<f64>,
) -> Option<String> {
    let found = errors(built, truth, composed, numbers);
    let off: Vec<(usize, f64)> = found.into_iter().filter(|(_, error)| *error > COMPOSITION).collect();
    let open = if off.is_empty() { Vec::new() } else { changes(program, built, truth, draw) };
    let decided =
        |&&(at, error): &&(usize, f64)| open.iter().all(|(other, change)| *other != at || 4.0 * change < error);
    let (at, error) = off.iter().find(decided)?;
    Some(format!("v{at} differs from the composition's, relative error {error:e}"))
}

/// How far each value moves when the leaves move by next to nothing. A maximum among equals is one of them by chance: what
/// moves as far as two ways of computing it differ says nothing about either.
fn changes(program: &Program, built: &Built, truth: &Arrays<f64>, draw: u64) -> Vec<(usize, f64)> {
    let moved = |seed: u64| {
        let mut random = Random::new(seed);
        let leaf = |value: Value, _: &Source| {
            let numbers = program.numbers(built, value, draw);
            let whole = built.graph.tensor(value).elem == Elem::U32;
            let most = if whole { 0.0 } else { NEXT_TO_NOTHING };
            let moved = numbers.moved(most, &mut random);
            Ok::<_, std::convert::Infallible>(moved)
        };
        let Ok(arrays) = interpret(&built.graph, leaf);
        errors(built, truth, built, &arrays)
    };
    (1..=4).flat_map(moved).collect()
}

/// For each value that both make, the largest error, relative to its largest number or to 1.
fn errors(built: &Built, truth: &Arrays<f64>, composed: &Built, numbers: &Arrays<f64>) -> Vec<(usize, f64)> {
    let pairs = built.values.iter().zip(&composed.values).enumerate();
    let both = pairs.filter_map(|(at, (one, other))| Some((at, (*one)?, (*other)?)));
    both.map(|(at, one, other)| {
        let (one, other) = (&truth[one.index()], &numbers[other.index()]);
        let largest = one.data.iter().fold(1.0f64, |largest, number| largest.max(number.abs()));
        // What is no number is infinitely far off, unless both are none; f64::max would lose it.
        let off = one.zip(other, |a, b| if a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() }).data.into_iter();
        let off = off.map(|off| if off.is_nan() { f64::INFINITY } else { off }).fold(0.0, f64::max);
        (at, if one.shape == other.shape { off / largest } else { f64::INFINITY })
    })
    .collect()
}
