//! Faults planted into a pool: each must be found within so many programs, and shrink to a few nodes.

use std::sync::Arc;

use libtest_mimic::Failed;
use vistok::graph::{Case, Composition, Gradients, Graph, Io, Maths, Node, Op, Repetition, Tensor, Value};
use vistok::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use vistok::ops::{self, Add, Reshape};
use vistok::reference::{Array, Real};
use vistok::verify::programs::{Campaign, Failure, Kind, Limits, Outcome, Pool, Program};

use super::Bench;

/// Programs within which a fault must be found.
const WITHIN: u64 = 200;
/// The most nodes that a shrunk program may have.
const NODES: usize = 3;
/// As many where a gradient rule has to read what was made again of what was made.
const NODES_AGAIN: usize = 8;

/// What is wrong with an op.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Gradient,
    /// A gradient that is NaN.
    Senseless,
    Composition,
    /// Whatever of one input stands behind it is left out.
    Fusion,
    /// Made again for the backward pass, it is another.
    Again,
    Kernel,
}

/// y = x + x, with something wrong where x has more than one row.
#[derive(Clone, Debug)]
struct Twice(Wrong);

vistok::kernel! {
    /// One lane an element.
    struct Forward = "test/twice" text r"// y = x + x, but for the second row. One lane an element.
// needs elem_f32 | elem_f16
// needs index
// constants WORKGROUP=256

struct Params { count: u32, wrong: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        y[at] = x[at] + x[select(at, at - 1u, at == params.wrong)];
    }
}
" {
        params { count: u32, wrong: u32 }
        read { x }
        write { y }
    }
}

impl Op for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [x] if x.elem != Elem::U32 => Ok(vec![x.clone()]),
            _ => Err("takes one input, f32 or f16".to_owned()),
        }
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, lanes) = (io.inputs[0].shape.count(), tuning::lanes(io.machine));
        let wrong = if self.0 == Wrong::Kernel && count > 1 { 1 } else { u32::MAX };
        out.dispatch(
            &Forward { count: word(count), wrong, x: io.input(0), y: io.output(0) },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }
    fn backward(&self, _: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        if self.0 == Wrong::Senseless {
            return Ok(vec![Some(graph.apply_one(Lost, &[dy])?)]);
        }
        let right = self.0 != Wrong::Gradient || graph.tensor(dy).shape.count() == 1;
        Ok(vec![Some(if right { graph.apply_one(Add, &[dy, dy])? } else { dy })])
    }
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let once = graph.apply_one(Add, &[inputs[0], inputs[0]])?;
        let wrong = self.0 == Wrong::Composition && graph.tensor(once).shape.count() > 1;
        Ok(Some(vec![Some(if wrong { graph.apply_one(Add, &[once, inputs[0]])? } else { once })]))
    }
    fn again(&self, node: &Node, graph: &mut Graph) -> Repetition {
        let wrong = self.0 == Wrong::Again && graph.tensor(node.outputs[0]).shape.count() > 1;
        Ok(Some(if wrong { node.inputs.clone() } else { graph.apply_shared(node.op.clone(), &node.inputs)? }))
    }
    fn then(&self, _: &dyn Op, _: usize, _: usize) -> Option<Box<dyn Op>> {
        (self.0 == Wrong::Fusion).then(|| Box::new(self.clone()) as Box<dyn Op>)
    }
}

impl Maths for Twice {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].map(|x| x + x)]
    }
}

/// What becomes of a gradient that is divided by nothing.
#[derive(Clone, Debug)]
struct Lost;

impl Op for Lost {
    fn name(&self) -> &'static str {
        "lost"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(inputs.to_vec())
    }
    fn record(&self, _: &Io<'_>, _: &mut Recording) {}
}

impl Maths for Lost {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].map(|_| T::of(f64::NAN))]
    }
}

fn pool(wrong: Wrong) -> Pool {
    let mut cases = ops::cases();
    if matches!(wrong, Wrong::Fusion | Wrong::Again) {
        // Of all ops few take the one value of another alone, and few rules read it: among these few it happens often
        // enough.
        cases.retain(|case| ["map", "add"].contains(&case.op.name()));
    }
    cases.extend([1, 3, 8].map(|rows| Case::new(Twice(wrong), &[&[rows, 4]])));
    Pool::new(cases, |shape| Arc::new(Reshape { shape }))
}

/// The first failure, and what it is shrunk to; how many programs that took.
fn found(campaign: &Campaign<'_>, kind: Kind) -> Result<Program, Failed> {
    for number in 0..WITHIN {
        let finding = campaign.run(number).ok_or("no tame program was drawn")?;
        let Some((program, Failure { kind: found, text, .. })) = finding.shrunk else { continue };
        if std::env::var("RANDOM_PROGRAMS_SHOW").is_ok() {
            eprintln!(
                "{kind:?}: program {number} of {} nodes, shrunk to {}: {text}\n{program}",
                finding.program.nodes(),
                program.nodes()
            );
        }
        if found != kind {
            return Err(format!("{found:?} is found in the place of {kind:?}: {text}\n{program}").into());
        }
        let most = if kind == Kind::Again { NODES_AGAIN } else { NODES };
        if program.nodes() > most || !program.ops().any(|op| op.name() == "twice") {
            return Err(format!("shrunk only to:\n{program}").into());
        }
        return Ok(program);
    }
    Err(format!("{kind:?} is not found in {WITHIN} programs").into())
}

fn on_paper(wrong: Wrong, kind: Kind) -> Result<(), Failed> {
    let pool = pool(wrong);
    for seed in 5..25 {
        let campaign = Campaign { pool: &pool, machines: &[], limits: Limits::default(), seed };
        let program = found(&campaign, kind)?;
        // What is kept must be what is read.
        let again = campaign.check(&pool.read(&program.to_string())?);
        if !matches!(&again, Outcome::Failed(failure) if failure.kind == kind) {
            return Err(format!("read back it gives {again:?}:\n{program}").into());
        }
    }
    Ok(())
}

pub(crate) fn wrong_gradient() -> Result<(), Failed> {
    on_paper(Wrong::Gradient, Kind::Gradient)
}

pub(crate) fn senseless_gradient() -> Result<(), Failed> {
    on_paper(Wrong::Senseless, Kind::Gradient)
}

pub(crate) fn wrong_composition() -> Result<(), Failed> {
    on_paper(Wrong::Composition, Kind::Composition)
}

pub(crate) fn wrong_fusion() -> Result<(), Failed> {
    on_paper(Wrong::Fusion, Kind::Fusion)
}

pub(crate) fn wrong_again() -> Result<(), Failed> {
    on_paper(Wrong::Again, Kind::Again)
}

pub(crate) fn wrong_kernel(bench: &Bench) -> Result<(), Failed> {
    let pool = pool(Wrong::Kernel);
    bench.check(&pool, 5, |campaign| found(campaign, Kind::Kernel)).map(|_| ())
}
