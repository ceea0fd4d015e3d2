//! Making a failing program smaller for as long as it still fails.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Leaf, Pool, Program, Step};
use crate::graph::{Draw, Op, Shape, Tensor};
use crate::kernel::Elem;

/// Programs that are tried before the smallest so far will do.
const TRIES: usize = 1000;

/// The smallest program found that `fails` still accepts. What does not fail any more, or in another way, is refused.
#[must_use]
pub fn shrink(program: &Program, pool: &Pool, fails: &mut dyn FnMut(&Program) -> bool) -> Program {
    // The fault may stand in a dead end, and those are dropped below: want them first, where it is still found then.
    let wanting = with_ends_wanted(program);
    let mut smallest = if fails(&wanting) { wanting } else { program.clone() };
    let mut tries = 0;
    // Programs whose numbers are others may fail by chance only: texts that were tried are not tried again.
    let mut tried: Vec<String> = vec![smallest.to_string()];
    loop {
        let next = candidates(&smallest, pool).into_iter().find(|candidate| {
            let text = candidate.to_string();
            if tries == TRIES || tried.contains(&text) {
                return false;
            }
            tries += 1;
            tried.push(text);
            fails(candidate)
        });
        match next {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

/// The same program with everything wanted that nothing uses.
fn with_ends_wanted(program: &Program) -> Program {
    let uses = program.uses();
    let (firsts, _) = program.numbering();
    let applied = program.steps.iter().zip(firsts).filter(|(step, _)| matches!(step, Step::Apply { .. }));
    let ends = applied.flat_map(|(step, first)| first..first + step.makes()).filter(|&value| uses[value] == 0);
    Program { outputs: program.outputs.iter().copied().chain(ends).collect(), ..program.clone() }
}

/// Smaller programs, those first that drop most.
fn candidates(program: &Program, pool: &Pool) -> Vec<Program> {
    let mut made = vec![program.clone()];
    made.extend(fewer_wanted(program));
    made.extend(earlier_wanted(program));
    made.extend(without_updates(program));
    made.extend(nearer_gradients(program));
    let tensors = tensors(program);
    made.extend(fewer_nodes(program, &tensors));
    made.extend(smaller_sizes(program, pool));
    made.extend(plainer(program));
    let mut live: Vec<Program> = made.into_iter().filter_map(|program| without_dead_ends(&program)).collect();
    // Where nothing was dropped, there is nothing to try.
    let text = program.to_string();
    live.retain(|candidate| candidate.to_string() != text);
    live
}

/// Only one of what is wanted, then all but one.
fn fewer_wanted(program: &Program) -> Vec<Program> {
    let (losses, outputs) = (&program.losses, &program.outputs);
    let only = |losses: &[usize], outputs: &[usize]| Program {
        losses: losses.to_vec(),
        outputs: outputs.to_vec(),
        ..program.clone()
    };
    // A loss that is not differentiated any more is one output of many.
    let plain = Program { steps: without_gradients(program), ..only(&[], &[&losses[..], outputs].concat()) };
    let mut made = vec![plain];
    if losses.len() + outputs.len() > 1 {
        made.extend(outputs.iter().map(|&output| only(losses, &[output])));
        made.push(only(losses, &[]));
        made.extend(without_each(outputs).map(|rest| only(losses, &rest)));
    }
    let gradients: Vec<usize> =
        (0..program.steps.len()).filter(|&at| matches!(program.steps[at], Step::Gradient(_))).collect();
    let with = |program: &Program, kept: &[usize]| {
        renumbered(program, |at| kept.contains(&at) || !gradients.contains(&at), &HashMap::new())
    };
    for &loss in losses {
        // One loss may reach few of the leaves.
        made.extend(gradients.iter().filter_map(|&gradient| with(&only(&[loss], &[]), &[gradient])));
        made.push(only(&[loss], outputs));
    }
    made.extend(without_each(losses).map(|rest| only(&rest, outputs)));
    made.extend(without_each(&gradients).filter_map(|rest| with(program, &rest)));
    made
}

/// In place of an output what it is made of: the fault may stand far before it, where other types do not let it be bypassed.
fn earlier_wanted(program: &Program) -> Vec<Program> {
    let (firsts, _) = program.numbering();
    let mut made = Vec::new();
    for (number, &output) in program.outputs.iter().enumerate() {
        let steps = program.steps.iter().zip(&firsts);
        let maker = steps.rev().find(|(_, first)| **first <= output);
        for &value in maker.map(|(step, _)| step.uses()).unwrap_or_default() {
            let mut outputs = program.outputs.clone();
            outputs[number] = value;
            made.push(Program { outputs, ..program.clone() });
        }
    }
    made
}

/// All but the first, all but the second, and so on.
fn without_each(all: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    all.iter().map(|one| all.iter().copied().filter(|other| other != one).collect())
}

/// Every gradient given from outside instead.
fn without_gradients(program: &Program) -> Vec<Step> {
    let tensors = tensors(program);
    let (firsts, _) = program.numbering();
    let given = |(step, first): (&Step, usize)| match (step, tensors.get(first)) {
        (Step::Gradient(_), Some(tensor)) => Step::Leaf(leaf(tensor)),
        _ => step.clone(),
    };
    program.steps.iter().zip(firsts).map(given).collect()
}

/// Each update dropped; and what it reads wanted instead, since the fault may stand before it.
fn without_updates(program: &Program) -> Vec<Program> {
    let updates = |step: &Step| matches!(step, Step::Apply { op, .. } if !op.updates().is_empty());
    let at = (0..program.steps.len()).rev().filter(|&at| updates(&program.steps[at]));
    let without = |at: usize| {
        let outputs = program.outputs.iter().chain(program.steps[at].uses()).copied().collect();
        let wanting = Program { outputs, ..program.clone() };
        [program, &wanting].map(|program| renumbered(program, |step| step != at, &HashMap::new()))
    };
    at.flat_map(without).flatten().collect()
}

/// Each op's values given from outside, or by an earlier value of the same type.
fn fewer_nodes(program: &Program, tensors: &[Tensor]) -> Vec<Program> {
    let (firsts, _) = program.numbering();
    let mut made = Vec::new();
    for (at, step) in program.steps.iter().enumerate().rev() {
        let first = firsts[at];
        let Some(own) = tensors.get(first..first + step.makes()) else { continue };
        if !matches!(step, Step::Leaf(_)) {
            let mut steps = program.steps.clone();
            steps.splice(at..=at, own.iter().map(|tensor| Step::Leaf(leaf(tensor))));
            made.push(Program { steps, ..program.clone() });
        }
        for (value, tensor) in (first..).zip(own) {
            // Its own inputs first, then the earliest.
            let same = |other: &usize| *other < first && tensors[*other] == *tensor;
            let others = step.uses().iter().copied().chain(0..first).filter(same).take(2);
            made.extend(others.filter_map(|other| renumbered(program, |_| true, &HashMap::from([(value, other)]))));
        }
    }
    made
}

/// Gradients flow from an earlier value, or end at a later one: an op's value that is given from outside instead.
fn nearer_gradients(program: &Program) -> Vec<Program> {
    let is_gradient = |at: usize| matches!(program.steps[at], Step::Gradient(_));
    let Some(first_gradient) = (0..program.steps.len()).find(|&at| is_gradient(at)) else { return Vec::new() };
    let tensors = tensors(program);
    let (firsts, _) = program.numbering();
    let mut made = Vec::new();
    for (at, &first) in firsts.iter().enumerate().take(first_gradient) {
        let Step::Apply { outputs, .. } = &program.steps[at] else { continue };
        made.push(Program { losses: vec![first], ..program.clone() });
        let Some(own) = tensors.get(first..first + outputs) else { continue };
        let mut steps = program.steps.clone();
        steps[first_gradient] = Step::Gradient(first);
        steps.splice(at..=at, own.iter().map(|tensor| Step::Leaf(leaf(tensor))));
        let one = first_gradient + outputs - 1;
        let given = Program { steps, ..program.clone() };
        let others = |at: usize| at == one || !matches!(given.steps[at], Step::Gradient(_));
        made.extend(renumbered(&given, others, &HashMap::new()));
    }
    made
}

/// A size, wherever leaves and views have it, made smaller.
fn smaller_sizes(program: &Program, pool: &Pool) -> Vec<Program> {
    let leaves = program.steps.iter().filter_map(|step| if let Step::Leaf(leaf) = step { Some(leaf) } else { None });
    let mut sizes: Vec<usize> = leaves.flat_map(|leaf| leaf.tensor.shape.to_vec()).filter(|&size| size > 1).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut made = Vec::new();
    for &size in sizes.iter().rev() {
        for smaller in [1, 2, size / 2, size - 1] {
            if smaller < size {
                made.push(resized(program, pool, size, smaller));
            }
        }
    }
    made
}

fn resized(program: &Program, pool: &Pool, size: usize, smaller: usize) -> Program {
    let shape = |shape: &[usize]| {
        Shape::from(shape.iter().map(|&own| if own == size { smaller } else { own }).collect::<Vec<_>>())
    };
    let tensors = tensors(program);
    let (firsts, _) = program.numbering();
    let step = |(step, first): (&Step, usize)| match step {
        Step::Leaf(leaf) => {
            let draw = match leaf.draw {
                Draw::Labels(classes) if classes == size => Draw::Labels(smaller),
                draw => draw,
            };
            Step::Leaf(Leaf { tensor: leaf.tensor.shaped(shape(&leaf.tensor.shape)), draw, home: leaf.home })
        }
        Step::Apply { op, inputs, outputs } if op.is_view() => {
            let op: Arc<dyn Op> = tensors.get(first).map_or(op.clone(), |tensor| pool.view(shape(&tensor.shape)));
            Step::Apply { op, inputs: inputs.clone(), outputs: *outputs }
        }
        other => other.clone(),
    };
    Program { steps: program.steps.iter().zip(firsts).map(step).collect(), ..program.clone() }
}

/// The same in f32; without stored leaves; with normal numbers.
fn plainer(program: &Program) -> Vec<Program> {
    let leaves = |change: &dyn Fn(&mut Leaf)| {
        let mut program = program.clone();
        for step in &mut program.steps {
            if let Step::Leaf(leaf) = step {
                change(leaf);
            }
        }
        program
    };
    vec![
        leaves(&|leaf| {
            if leaf.tensor.elem == Elem::F16 {
                leaf.tensor.elem = Elem::F32;
            }
        }),
        leaves(&|leaf| leaf.home = None),
        leaves(&|leaf| {
            if leaf.tensor.elem != Elem::U32 && !matches!(leaf.draw, Draw::Labels(_)) {
                leaf.draw = Draw::Normal;
            }
        }),
    ]
}

/// The program without steps that lead to nothing wanted and update nothing.
fn without_dead_ends(program: &Program) -> Option<Program> {
    let (firsts, count) = program.numbering();
    let mut wanted = vec![false; count];
    for &value in program.losses.iter().chain(&program.outputs) {
        *wanted.get_mut(value)? = true;
    }
    // A loss is wanted for itself; whether gradients are is for those who use them.
    let mut kept = vec![false; program.steps.len()];
    for (at, step) in program.steps.iter().enumerate().rev() {
        let made = firsts[at]..firsts[at] + step.makes();
        let updates = match step {
            Step::Apply { op, .. } => !op.updates().is_empty(),
            // It is compared with the derivative whether it is used or not.
            Step::Gradient(_) => true,
            Step::Leaf(_) => false,
        };
        kept[at] = updates || wanted[made].iter().any(|&wanted| wanted);
        if kept[at] {
            step.uses().iter().for_each(|&value| wanted[value] = true);
        }
    }
    renumbered(program, |step| kept[step], &HashMap::new())
}

/// The program with only some steps, values standing for others as `instead` says; nothing where a value would be used
/// that is not made.
fn renumbered(program: &Program, keep: impl Fn(usize) -> bool, instead: &HashMap<usize, usize>) -> Option<Program> {
    let (firsts, count) = program.numbering();
    let mut numbers: Vec<Option<usize>> = vec![None; count];
    let mut next = 0;
    for (at, step) in program.steps.iter().enumerate().filter(|(at, _)| keep(*at)) {
        for number in &mut numbers[firsts[at]..firsts[at] + step.makes()] {
            *number = Some(next);
            next += 1;
        }
    }
    let number = |value: &usize| numbers[*instead.get(value).unwrap_or(value)];
    let all = |values: &[usize]| values.iter().map(number).collect::<Option<Vec<usize>>>();
    let mut steps = Vec::new();
    for (_, step) in program.steps.iter().enumerate().filter(|(at, _)| keep(*at)) {
        steps.push(match step {
            Step::Leaf(_) => step.clone(),
            Step::Gradient(of) => Step::Gradient(number(of)?),
            Step::Apply { op, inputs, outputs } => {
                Step::Apply { op: op.clone(), inputs: all(inputs)?, outputs: *outputs }
            }
        });
    }
    let distinct = |values: Vec<usize>| {
        let mut seen = Vec::new();
        values
            .into_iter()
            .filter(|value| {
                !seen.contains(value) && {
                    seen.push(*value);
                    true
                }
            })
            .collect::<Vec<_>>()
    };
    let losses = distinct(all(&program.losses)?);
    let outputs = distinct(all(&program.outputs)?).into_iter().filter(|output| !losses.contains(output)).collect();
    Some(Program { steps, losses, outputs, seed: program.seed })
}

/// The types of all values, as far as they can be told.
fn tensors(program: &Program) -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for step in &program.steps {
        match step {
            Step::Leaf(leaf) => tensors.push(leaf.tensor.clone()),
            Step::Gradient(of) => tensors.extend(tensors.get(*of).cloned()),
            Step::Apply { op, inputs, .. } => {
                let given: Option<Vec<Tensor>> = inputs.iter().map(|&input| tensors.get(input).cloned()).collect();
                match given.map(|given| op.outputs(&given)) {
                    Some(Ok(made)) => tensors.extend(made),
                    _ => return tensors,
                }
            }
        }
    }
    tensors
}

fn leaf(tensor: &Tensor) -> Leaf {
    let draw = if tensor.elem == Elem::U32 { Draw::Labels(2) } else { Draw::Normal };
    Leaf { tensor: tensor.clone(), draw, home: None }
}
