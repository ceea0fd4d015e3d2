//! What programs are drawn: every op, every way of being used; and their text. No GPU.

use std::collections::HashMap;

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::ops;
use vistok::verify::programs::{Campaign, Limits, Outcome, Pool, Program, Step};

use super::pool;

/// Programs of which the drawing is judged.
const MANY: u64 = 500;
/// How often each op and each way of being used must be seen in them.
const OFTEN: usize = 5;

fn on_paper(pool: &Pool) -> Campaign<'_> {
    Campaign { pool, machines: &[], limits: Limits::default(), seed: 3 }
}

pub(crate) fn every_op_is_drawn() -> Result<(), Failed> {
    let pool = pool();
    let mut seen: HashMap<String, usize> = pool.names().iter().map(|name| ((*name).to_owned(), 0)).collect();
    let ways = ["f16", "f32", "both", "fan-out", "outputs", "losses", "gradients", "updates", "updated by a gradient"];
    let rules = ops::cases().into_iter().filter(|case| case.has_gradient);
    seen.extend(rules.map(|case| (format!("gradient of {}", case.op.name()), 0)));
    seen.extend(
        ways.iter().chain(&["views", "stored", "dead ends", "twice in one op"]).map(|way| ((*way).to_owned(), 0)),
    );
    for number in 0..MANY {
        let program = on_paper(&pool).program(number).ok_or("no tame program was drawn")?;
        for op in program.ops() {
            *seen.entry(op.name().to_owned()).or_default() += 1;
        }
        for name in differentiated(&program) {
            *seen.entry(format!("gradient of {name}")).or_default() += 1;
        }
        for way in ways_of(&program) {
            *seen.entry(way.to_owned()).or_default() += 1;
        }
    }
    let mut rare: Vec<_> = seen.iter().filter(|(_, count)| **count < OFTEN).collect();
    rare.sort();
    if std::env::var("RANDOM_PROGRAMS_SHOW").is_ok() {
        let mut all: Vec<_> = seen.iter().collect();
        all.sort();
        eprintln!("{all:?}");
    }
    if rare.is_empty() { Ok(()) } else { Err(format!("of {MANY} programs too few have: {rare:?}").into()) }
}

/// The ops that stand between a loss and a leaf whose gradient is asked for, each once.
fn differentiated(program: &Program) -> Vec<&'static str> {
    let count = program.uses().len();
    let (mut below, mut above) = (vec![false; count], vec![false; count]);
    for step in &program.steps {
        if let Step::Gradient(of) = step {
            below[*of] = true;
        }
    }
    program.losses.iter().for_each(|&loss| above[loss] = true);
    let (mut firsts, mut next) = (Vec::new(), 0);
    for step in &program.steps {
        firsts.push(next);
        let own = next..next + step.makes();
        if step.uses().iter().any(|&value| below[value]) {
            own.clone().for_each(|value| below[value] = true);
        }
        next = own.end;
    }
    let mut names = Vec::new();
    for (step, first) in program.steps.iter().zip(firsts).rev() {
        let Step::Apply { op, inputs, outputs } = step else { continue };
        if (first..first + outputs).any(|value| above[value] && below[value]) {
            inputs.iter().for_each(|&value| above[value] = true);
            names.push(op.name());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The ways in which a program uses its values.
fn ways_of(program: &Program) -> Vec<&'static str> {
    let uses = program.uses();
    let leaves = program.steps.iter().filter_map(|step| if let Step::Leaf(leaf) = step { Some(leaf) } else { None });
    let has = |elem: Elem| leaves.clone().any(|leaf| leaf.tensor.elem == elem);
    let mut gradients = Vec::new();
    let (mut next, mut updated_by_gradient, mut fan_out, mut dead) = (0, false, false, false);
    for step in &program.steps {
        match step {
            Step::Gradient(_) => gradients.push(next),
            Step::Apply { op, inputs, outputs } => {
                updated_by_gradient |= !op.updates().is_empty() && inputs.iter().any(|input| gradients.contains(input));
                fan_out |= uses[next..next + outputs].iter().any(|&uses| uses > 1);
                dead |= uses[next..next + outputs].iter().all(|&uses| uses == 0) && op.updates().is_empty();
            }
            Step::Leaf(_) => {}
        }
        next += step.makes();
    }
    let twice = program.steps.iter().any(|step| {
        let mut inputs = step.uses().to_vec();
        inputs.sort_unstable();
        inputs.windows(2).any(|pair| pair[0] == pair[1])
    });
    let all = [
        ("f16", has(Elem::F16)),
        ("f32", has(Elem::F32)),
        ("both", has(Elem::F16) && has(Elem::F32)),
        ("fan-out", fan_out),
        ("outputs", program.outputs.len() > 1),
        ("losses", program.losses.len() > 1),
        ("gradients", !gradients.is_empty()),
        ("updates", program.ops().any(|op| !op.updates().is_empty())),
        ("updated by a gradient", updated_by_gradient),
        ("views", program.ops().any(|op| op.is_view())),
        ("stored", leaves.clone().any(|leaf| leaf.home.is_some())),
        ("dead ends", dead),
        ("twice in one op", twice),
    ];
    all.into_iter().filter(|(_, is)| *is).map(|(way, _)| way).collect()
}

pub(crate) fn programs_are_read_back() -> Result<(), Failed> {
    let pool = pool();
    for number in 0..MANY {
        let text = on_paper(&pool).program(number).ok_or("no tame program was drawn")?.to_string();
        let again = pool.read(&text)?.to_string();
        if again != text {
            return Err(format!("printed:\n{text}\nread:\n{again}").into());
        }
    }
    Ok(())
}

pub(crate) fn wrong_texts_are_refused() -> Result<(), Failed> {
    let pool = pool();
    let refused = [
        ("v0 = input f32 [2] normal\nv1 = Add(v0, v1)", "line 2"),
        ("v0 = input f32 [2] normal\nv1 = Subtract(v0, v0)", "Subtract"),
        ("v1 = input f32 [2] normal", "this is v0"),
        ("v0 = input f64 [2] normal", "a leaf is"),
        ("v0 = input f32 [2, x] normal", "`x` is not a size"),
        ("v0 = input f32 [99999999999] normal", "elements"),
        ("v0 = input f32 [4000000000, 4000000000, 4000000000] normal", "elements"),
        ("v0 = input f32 [0] normal", "elements"),
        ("v0 = input f32 [2] between 0 nan", "a leaf is"),
        ("v0 = gradient v0", "made before"),
        ("output v0", "made before"),
        ("seed twelve", "`twelve` is not a seed"),
        ("Add", "is no step"),
        ("v0 = Add", "applied as"),
    ];
    for (text, word) in refused {
        match pool.read(text) {
            Err(error) if error.to_string().contains(word) => {}
            other => return Err(format!("{text:?} gives {other:?}, and should speak of {word:?}").into()),
        }
    }
    // These are texts of programs that are none: they can be read, and fail when they are built.
    let leaves = "v0 = input f32 [2] normal\nv1 = input f32 [3] normal\n";
    let built = [
        ("v2 = Add(v0, v1)\noutput v2", "one shape"),
        ("v2, v3 = Relu(v0)\noutput v2", "another number of values"),
        ("v2 = Relu(v0)\nloss v2\nv3 = gradient v1\noutput v3", "no gradient reaches v1"),
        ("v2 = Relu(v0)\nv3 = gradient v0\noutput v2", "no gradient reaches v0"),
        ("v2 = Relu(v0)\nv3 = gradient v2\nloss v2", "those of leaves"),
        ("v2, v3 = Add(v0)\noutput v2", "no case tries|two inputs"),
    ];
    for (text, words) in built {
        let program = pool.read(&format!("{leaves}{text}"))?;
        match on_paper(&pool).check(&program) {
            Outcome::Failed(failure) if words.split('|').any(|word| failure.text.contains(word)) => {}
            other => return Err(format!("{text:?} gives {other:?}, and should speak of {words:?}").into()),
        }
    }
    Ok(())
}

pub(crate) fn many_pass_on_paper() -> Result<(), Failed> {
    let pool = pool();
    let (mut differentiated, mut kinked) = (0, 0);
    for number in 0..2 * MANY {
        let program = on_paper(&pool).program(number).ok_or("no tame program was drawn")?;
        differentiated += usize::from(program.steps.iter().any(|step| matches!(step, Step::Gradient(_))));
        match on_paper(&pool).check(&program) {
            Outcome::Passed { kinked: is, .. } => kinked += usize::from(is),
            Outcome::Untamed => return Err(format!("a tame program is untamed:\n{program}").into()),
            Outcome::Failed(failure) => return Err(format!("{failure}\n{program}").into()),
        }
    }
    if std::env::var("RANDOM_PROGRAMS_SHOW").is_ok() {
        eprintln!("{kinked} of {differentiated} kinked");
    }
    // A derivative that cannot be told is no proof: more than one in twenty would be a fault of the drawing.
    let few = 20 * kinked <= differentiated && differentiated > 500;
    if few { Ok(()) } else { Err(format!("{kinked} of {differentiated} have no derivative").into()) }
}
