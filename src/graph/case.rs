//! A case: an op, the shapes it is tried on, and what its inputs look like.

use std::sync::Arc;

use super::{Graph, GraphError, Op, Shape, Tensor, Value};
use crate::kernel::Elem;
use crate::reference::{Array, PIECE, Random};

/// What the numbers of an input look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// Normal, away from zero mean, so that `E[x²] − E[x]²` would show its cancellation.
    Normal,
    /// Uniform between two numbers.
    Between(f64, f64),
    /// Whole numbers below a limit: labels.
    Labels(usize),
    /// All different, in random order: no two inputs of a maximum are ever equal.
    Distinct,
    /// Whole numbers from −2 to 2, and among them NaN and both infinities.
    Extreme,
    /// Normal, but for the last, which is infinite.
    Overflow,
}

/// One input of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its shape.
    pub shape: Shape,
    /// Its element type, where that does not follow the type that the case is tried in.
    pub fixed: Option<Elem>,
    /// What its numbers look like.
    pub draw: Draw,
    /// Whether the op has a gradient for it.
    pub differentiable: bool,
}

/// An op and what it is tried on. Kernel tests, gradient tests and benches are all made from these.
#[derive(Clone, Debug)]
pub struct Case {
    /// The op.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// The outputs that gradients flow from; the others are kept for the backward pass.
    pub seeds: Vec<usize>,
    /// The model and layer whose real shape this is; such cases are benched, and not run on software adapters.
    pub real: Option<&'static str>,
    /// Whether the op has a gradient to check.
    pub has_gradient: bool,
}

impl Case {
    /// An op on inputs of these shapes: normal numbers, element type as tried, gradients from output 0.
    #[must_use]
    pub fn new(op: impl Op, shapes: &[&[usize]]) -> Self {
        let input = |shape: &&[usize]| Input {
            shape: Shape::from(*shape),
            fixed: None,
            draw: Draw::Normal,
            differentiable: true,
        };
        let inputs = shapes.iter().map(input).collect();
        Self { op: Arc::new(op), inputs, seeds: vec![0], real: None, has_gradient: true }
    }

    /// This input is f32 whatever the case is tried in.
    #[must_use]
    pub fn f32(mut self, input: usize) -> Self {
        self.inputs[input].fixed = Some(Elem::F32);
        self
    }

    /// This input's numbers look like that.
    #[must_use]
    pub fn draw(mut self, input: usize, draw: Draw) -> Self {
        self.inputs[input].draw = draw;
        self
    }

    /// This input has no gradient.
    #[must_use]
    pub fn constant(mut self, input: usize) -> Self {
        self.inputs[input].differentiable = false;
        self
    }

    /// This input holds labels below `classes`: u32, no gradient.
    #[must_use]
    pub fn labels(mut self, input: usize, classes: usize) -> Self {
        self.inputs[input].fixed = Some(Elem::U32);
        self.draw(input, Draw::Labels(classes)).constant(input)
    }

    /// The op has no gradient (an update).
    #[must_use]
    pub fn no_gradient(mut self) -> Self {
        self.has_gradient = false;
        self
    }

    /// The shapes are those of a layer of a real model.
    #[must_use]
    pub fn real(mut self, layer: &'static str) -> Self {
        self.real = Some(layer);
        self
    }

    /// The case as a graph of one node; inputs that the op updates become stored values.
    ///
    /// # Errors
    /// When the op refuses the shapes.
    pub fn graph(&self, elem: Elem) -> Result<(Graph, Vec<Value>), GraphError> {
        let mut graph = Graph::new();
        let updated: Vec<usize> = self.op.updates().iter().map(|pair| pair.0).collect();
        let mut inputs = Vec::new();
        for (at, input) in self.inputs.iter().enumerate() {
            let tensor = Tensor::new(input.shape.clone(), input.fixed.unwrap_or(elem));
            let name = format!("input{at}");
            inputs.push(match updated.contains(&at) {
                true => graph.stored("stored", &name, tensor)?,
                false => graph.input(name, tensor),
            });
        }
        graph.apply_shared(self.op.clone(), &inputs)?;
        Ok((graph, inputs))
    }

    /// Numbers for input `at`, the same for the same seed.
    #[must_use]
    pub fn numbers(&self, at: usize, seed: u64) -> Array<f64> {
        numbers(&self.inputs[at].shape, self.inputs[at].draw, &mut Random::named(seed, &format!("input{at}")))
    }

    /// The case's name: shapes of inputs.
    #[must_use]
    pub fn name(&self) -> String {
        let shapes: Vec<String> = self.inputs.iter().map(|input| input.shape.to_string().replace(", ", "x")).collect();
        format!("{:?} {}", self.op, shapes.join(" "))
    }
}

/// Numbers of this look.
#[must_use]
pub fn numbers(shape: &Shape, draw: Draw, random: &mut Random) -> Array<f64> {
    if draw == Draw::Distinct {
        let count = shape.count();
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, random.below(at + 1));
        }
        // Quarters are exact in f16 up to 512; beyond 4,096 numbers neighbours may meet there.
        return Array::from_fn(shape, |at| (order[at] as f64 - count as f64 / 2.0) / 4.0);
    }
    // A number takes so many words of the stream, so that all cores can draw at once.
    let words = if matches!(draw, Draw::Normal | Draw::Overflow) { 2 } else { 1 };
    let start = random.clone();
    random.skip(words * shape.count() as u64);
    let last = shape.count().saturating_sub(1);
    let mut drawn = Array::from_rows(shape, PIECE, |piece, numbers| {
        let mut random = start.clone();
        random.skip(words * (piece * PIECE) as u64);
        numbers.fill_with(|| match draw {
            Draw::Normal | Draw::Overflow => 0.25 + random.normal(),
            Draw::Between(low, high) => low + (high - low) * random.uniform(),
            Draw::Labels(classes) => random.below(classes) as f64,
            Draw::Distinct => 0.0,
            Draw::Extreme => match random.below(8) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                other => other as f64 - 5.0,
            },
        });
    });
    if let (Draw::Overflow, Some(number)) = (draw, drawn.data.get_mut(last)) {
        *number = f64::INFINITY;
    }
    drawn
}
