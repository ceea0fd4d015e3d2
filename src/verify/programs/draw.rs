//! Drawing a program: ops on values that are alive where they fit, on new leaves where none does.

use super::fit::{Sizes, ranked, reshaped};
use super::flow::Flow;
use super::program::HOMES;
use super::{Leaf, Pool, Program, Step};
use crate::graph::{Case, Draw, Input, Tensor};
use crate::kernel::Elem;
use crate::reference::Random;

/// How large programs are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most ops before gradients are taken; up to four more are applied to those.
    pub ops: usize,
    /// The most elements of a value.
    pub elements: usize,
    /// Whether there is f16.
    pub f16: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ops: 9, elements: 1536, f16: true }
    }
}

/// What whole numbers stay below that are no labels.
const WHOLE: usize = 5;

/// Tries of an op before another is chosen.
const TRIES: usize = 12;

/// A program, the same for the same seed. Its numbers may be untamed: [`Campaign`](super::Campaign) redraws those.
#[must_use]
pub fn draw(pool: &Pool, seed: u64, limits: Limits) -> Program {
    let mut random = Random::named(seed, "program");
    let elem = if limits.f16 && random.below(5) < 2 { Elem::F16 } else { Elem::F32 };
    let program = Program { seed, ..Program::default() };
    let mut drawing = Drawing { pool, limits, random, elem, program, values: Vec::new(), learned: Vec::new() };
    for _ in 0..=drawing.random.below(limits.ops) {
        drawing.op();
    }
    drawing.differentiate();
    for _ in 0..drawing.random.below(5) {
        drawing.op();
    }
    drawing.want();
    drawing.program
}

/// A program on the way.
struct Drawing<'a> {
    pool: &'a Pool,
    limits: Limits,
    random: Random,
    /// The type that new leaves mostly have.
    elem: Elem,
    program: Program,
    values: Vec<Known>,
    /// Leaves that may be differentiated.
    learned: Vec<usize>,
}

/// What is known of a value.
struct Known {
    tensor: Tensor,
    /// The value whose memory it stands in, as far as views tell.
    root: usize,
    /// The home of that memory, where it has one.
    home: Option<&'static str>,
    /// Whether an op made it, or a gradient.
    computed: bool,
    /// Whether an op has updated that memory: the old numbers are gone.
    gone: bool,
}

/// An input of an op, found or to be made.
enum Found {
    Alive(usize),
    New(Leaf),
}

/// What is known of an op's inputs when one more is looked for.
struct Slot<'a> {
    input: &'a Input,
    /// Which of the op's updates goes through it.
    update: Option<usize>,
    elem: Option<Elem>,
    sizes: &'a Sizes,
    /// For ops on tensors of one shape, which take any: the first of them, once there is one.
    alike: Option<Option<Tensor>>,
}

impl Drawing<'_> {
    fn op(&mut self) {
        for _ in 0..TRIES {
            let names = self.pool.names();
            let cases = self.pool.cases_of(names[self.random.below(names.len())]);
            // Gradients end at ops that have none: those mostly come later, when gradients were taken.
            let ends = !cases.iter().any(|case| case.has_gradient);
            if ends && self.program.losses.is_empty() && self.random.below(4) > 0 {
                continue;
            }
            for tries in (0..TRIES).rev() {
                let case = cases[self.random.below(cases.len())];
                let view = case.op.is_view();
                let (steps, values) = (self.program.steps.len(), self.values.len());
                // A case whose rank no value has is reached by a view, now and then.
                if !view && self.random.below(4) == 0 {
                    let rank = case.inputs.first().map(|input| input.shape.len());
                    self.view(rank);
                }
                if if view { self.view(None) } else { self.apply(case, tries > 0) } {
                    return;
                }
                self.program.steps.truncate(steps);
                self.values.truncate(values);
            }
        }
    }

    /// A view of a value, of another rank or in any other shape.
    fn view(&mut self, rank: Option<usize>) -> bool {
        let other = |drawing: &Self, value: usize| rank != Some(drawing.values[value].tensor.shape.len());
        let Some(value) = self.pick(other) else { return false };
        let Known { tensor, root, home, .. } = &self.values[value];
        let (root, home) = (*root, *home);
        let shape = match rank {
            Some(rank) => ranked(&tensor.shape, rank, &mut self.random),
            None => reshaped(&tensor.shape, &mut self.random),
        };
        let tensor = tensor.shaped(shape);
        if tensor == self.values[value].tensor {
            return false;
        }
        let op = self.pool.view(tensor.shape.clone());
        self.program.steps.push(Step::Apply { op, inputs: vec![value], outputs: 1 });
        self.values.push(Known { tensor, root, home, computed: true, gone: false });
        true
    }

    /// Applies a case's op; with `joined`, only where it uses a value that another op made.
    fn apply(&mut self, case: &Case, joined: bool) -> bool {
        let Some(found) = self.inputs(case) else { return false };
        let computed = |found: &Found| matches!(found, Found::Alive(value) if self.values[*value].computed);
        let any = self.values.iter().any(|known| known.computed) && !case.inputs.is_empty();
        if joined && any && !found.iter().any(computed) {
            return false;
        }
        let tensors: Vec<Tensor> = found.iter().map(|found| self.tensor(found).clone()).collect();
        let Ok(made) = case.op.outputs(&tensors) else { return false };
        let fits = |tensor: &Tensor| {
            (1..=self.limits.elements).contains(&tensor.shape.count()) && (self.limits.f16 || tensor.elem != Elem::F16)
        };
        if !tensors.iter().chain(&made).all(fits) {
            return false;
        }
        let updates = case.op.updates();
        let mut inputs = Vec::with_capacity(found.len());
        for (at, found) in found.into_iter().enumerate() {
            let learned = case.inputs[at].differentiable && !updates.iter().any(|pair| pair.0 == at);
            inputs.push(match found {
                Found::Alive(value) => value,
                Found::New(leaf) => self.leaf(leaf, learned),
            });
        }
        let step = Step::Apply { op: case.op.clone(), inputs: inputs.clone(), outputs: made.len() };
        self.program.steps.push(step);
        for (output, tensor) in made.into_iter().enumerate() {
            let update = updates.iter().find(|pair| pair.1 == output);
            let home = update.and_then(|pair| self.values[inputs[pair.0]].home);
            self.values.push(Known { tensor, root: self.values.len(), home, computed: true, gone: false });
        }
        for (input, _) in updates {
            let root = self.values[inputs[input]].root;
            self.values.iter_mut().filter(|known| known.root == root).for_each(|known| known.gone = true);
        }
        true
    }

    fn leaf(&mut self, leaf: Leaf, learned: bool) -> usize {
        let value = self.values.len();
        // Whole numbers make ties, of which a maximum has no derivative.
        let ties = matches!(leaf.draw, Draw::Labels(_));
        if learned && !ties && leaf.tensor.elem != Elem::U32 {
            self.learned.push(value);
        }
        self.values.push(Known {
            tensor: leaf.tensor.clone(),
            root: value,
            home: leaf.home,
            computed: false,
            gone: false,
        });
        self.program.steps.push(Step::Leaf(leaf));
        value
    }

    /// Inputs for a case: values that are alive, mostly, and new leaves.
    fn inputs(&mut self, case: &Case) -> Option<Vec<Found>> {
        let updates = case.op.updates();
        let mut sizes = Sizes::default();
        let mut elem = None;
        let mut found: Vec<Found> = Vec::new();
        let alike = case.inputs.iter().all(|input| input.shape == case.inputs[0].shape) && updates.is_empty();
        for (at, input) in case.inputs.iter().enumerate() {
            let update = updates.iter().position(|pair| pair.0 == at);
            let first = alike.then(|| found.first().map(|first| self.tensor(first).clone()));
            let slot = Slot { input, update, elem, sizes: &sizes.clone(), alike: first };
            let alive = if self.random.below(6) == 0 { None } else { self.alive(&slot) };
            found.push(match alive {
                Some(value) => Found::Alive(value),
                None => Found::New(self.new_leaf(&slot, &mut sizes)),
            });
            let tensor = self.tensor(&found[at]);
            if !alike && !sizes.bind(&input.shape, &tensor.shape) {
                return None;
            }
            if input.fixed.is_none() {
                elem = Some(tensor.elem);
            }
        }
        self.homes_agree(case, &found).then_some(found)
    }

    fn tensor<'a>(&'a self, found: &'a Found) -> &'a Tensor {
        match found {
            Found::Alive(value) => &self.values[*value].tensor,
            Found::New(leaf) => &leaf.tensor,
        }
    }

    fn new_leaf(&mut self, slot: &Slot<'_>, sizes: &mut Sizes) -> Leaf {
        let shape = match &slot.alike {
            Some(Some(first)) => first.shape.clone(),
            _ => sizes.shape(&slot.input.shape, &mut self.random),
        };
        let other = self.limits.f16 && self.random.below(10) == 0;
        let usual = if other { [Elem::F16, Elem::F32][usize::from(self.elem == Elem::F16)] } else { self.elem };
        let tensor = Tensor::new(shape, slot.input.fixed.or(slot.elem).unwrap_or(usual));
        let draw = match slot.input.draw {
            Draw::Labels(classes) => Draw::Labels(sizes.known(classes)),
            // Whole numbers stand beside whole numbers, where an op takes either.
            _ if tensor.elem == Elem::U32 => Draw::Labels(WHOLE),
            // A NaN would run through the whole program, and say nothing of what it met.
            Draw::Extreme | Draw::Overflow => Draw::Normal,
            draw => draw,
        };
        let kept = self.random.below(2) == 0 && tensor.elem != Elem::U32;
        let home = slot.update.map(|update| HOMES[1 + update % (HOMES.len() - 1)]).or(kept.then_some(HOMES[0]));
        Leaf { tensor, draw, home }
    }

    /// A value that can be this input. Whether its op takes the value's type is for the op to say.
    fn alive(&mut self, slot: &Slot<'_>) -> Option<usize> {
        // Variances, rates and labels are not just any numbers: those are drawn.
        let special = match slot.input.draw {
            Draw::Between(low, _) => low >= 0.0,
            Draw::Labels(_) => slot.input.fixed == Some(Elem::U32),
            _ => false,
        };
        // What is updated before gradients are taken must not be read by those.
        if special || (slot.update.is_some() && self.program.losses.is_empty()) {
            return None;
        }
        let wants = slot.input.fixed.or(slot.elem);
        self.pick(|drawing, value| {
            let tensor = &drawing.values[value].tensor;
            let shape = match &slot.alike {
                Some(first) => first.as_ref().is_none_or(|first| first == tensor),
                None => slot.sizes.clone().bind(&slot.input.shape, &tensor.shape),
            };
            let typed = wants.is_none_or(|elem| elem == tensor.elem);
            shape && typed && (slot.update.is_none() || drawing.can_be_updated(value))
        })
    }

    /// A value that fits and is not gone; later ones are likelier, so that chains grow and old values die.
    fn pick(&mut self, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let all: Vec<usize> =
            (0..self.values.len()).filter(|&value| !self.values[value].gone && fits(self, value)).collect();
        let back = (self.random.uniform() * self.random.uniform() * all.len() as f64) as usize;
        all.len().checked_sub(1 + back).map(|at| all[at])
    }

    fn can_be_updated(&self, value: usize) -> bool {
        let (firsts, _) = self.program.numbering();
        let step = firsts.binary_search(&value).ok().map(|at| &self.program.steps[at]);
        let stored = matches!(step, Some(Step::Leaf(leaf)) if leaf.home.is_some());
        stored && !self.program.losses.iter().any(|&loss| self.values[loss].root == value)
    }

    /// No kernel reads and writes one buffer, and a home is one.
    fn homes_agree(&self, case: &Case, found: &[Found]) -> bool {
        let updates = case.op.updates();
        let home = |at: usize| match &found[at] {
            Found::Alive(value) => self.values[*value].home,
            Found::New(leaf) => leaf.home,
        };
        let same = |one: usize, other: usize| matches!((&found[one], &found[other]), (Found::Alive(a), Found::Alive(b)) if a == b);
        let updated = |at: usize| updates.iter().any(|pair| pair.0 == at);
        (0..found.len()).filter(|&at| updated(at)).all(|at| {
            (0..found.len()).filter(|&other| other != at).all(|other| match updated(other) {
                true => !same(at, other),
                false => home(other) != home(at),
            })
        })
    }

    /// Chooses losses among values that gradients flow from, and asks for the gradients of most leaves that they reach.
    fn differentiate(&mut self) {
        let Ok(flow) = Flow::of(&self.program, &self.learned, self.pool) else { return };
        let uses = self.program.uses();
        let fits = |value: &usize| flow.depends[*value] && flow.smooth[*value] && !self.learned.contains(value);
        let mut candidates: Vec<usize> = (0..self.values.len()).filter(fits).collect();
        for _ in 0..=self.random.below(4) {
            if candidates.is_empty() {
                break;
            }
            // What nothing uses yet is where a program ends.
            let ends: Vec<usize> = candidates.iter().copied().filter(|&value| uses[value] == 0).collect();
            let among = if ends.is_empty() { &candidates } else { &ends };
            let loss = among[self.random.below(among.len())];
            self.program.losses.push(loss);
            candidates.retain(|&value| value != loss);
        }
        let reached = flow.reached(&self.program.losses);
        for leaf in self.learned.clone() {
            if reached[leaf] && self.random.below(6) > 0 {
                self.program.steps.push(Step::Gradient(leaf));
                let tensor = self.values[leaf].tensor.clone();
                self.values.push(Known { tensor, root: self.values.len(), home: None, computed: true, gone: false });
            }
        }
    }

    /// Most values that nothing uses are wanted, and a few others; the rest are dead ends.
    fn want(&mut self) {
        let uses = self.program.uses();
        let (firsts, _) = self.program.numbering();
        let steps = self.program.steps.iter().zip(firsts).filter(|(step, _)| !matches!(step, Step::Leaf(_)));
        let made: Vec<usize> = steps.flat_map(|(step, first)| first..first + step.makes()).collect();
        let last = made.iter().copied().rfind(|&value| !self.values[value].gone);
        for value in made {
            let chance = if uses[value] == 0 { 8 } else { 1 };
            if !self.values[value].gone && !self.program.losses.contains(&value) && self.random.below(10) < chance {
                self.program.outputs.push(value);
            }
        }
        if let (false, Some(last)) = (self.program.leaves_anything(), last) {
            self.program.outputs.push(last);
        }
    }
}
