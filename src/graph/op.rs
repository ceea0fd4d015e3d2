//! What an op is: a value that knows its shape rule, its maths, its kernels and its gradient.

use std::any::Any;
use std::fmt::Debug;

use super::{Graph, GraphError, Node, Regrouping, Tensor, Value};
use crate::kernel::{Capabilities, Elem, Recording, View};
use crate::reference::{Array, Real};

/// What a gradient rule answers: for each input its gradient, or `None` where there is none to have.
pub type Gradients = Result<Vec<Option<Value>>, GraphError>;

/// What a composition answers: for each output the value in its place, or `None` where smaller ops do not make it; and
/// no list at all where the op is made of no others.
pub type Composition = Result<Option<Vec<Option<Value>>>, GraphError>;

/// What makes an op's outputs again: for each output the new value, or the output itself where it is to be kept; and no
/// list at all where the outputs cannot be made again.
pub type Repetition = Result<Option<Vec<Value>>, GraphError>;

/// An op that computes every image of its batch by itself.
#[derive(Debug)]
pub struct ByImage {
    /// The op for so many images.
    pub op: Box<dyn Op>,
    /// Which inputs run along the batch, by their first axis. All images have the others in common. Outputs all run along it.
    pub inputs: Vec<usize>,
}

/// An op's definition, written once over any [`Real`]: in f64 it is the truth, in f32 the yardstick.
pub trait Maths {
    /// The outputs for these inputs; the plainest loops that are right.
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>>;
}

/// [`Maths`] behind a pointer. Implemented for every `Maths`; never by hand.
pub trait AnyMaths {
    /// In f32.
    fn maths_f32(&self, inputs: &[&Array<f32>]) -> Vec<Array<f32>>;
    /// In f64.
    fn maths_f64(&self, inputs: &[&Array<f64>]) -> Vec<Array<f64>>;
}

impl<M: Maths> AnyMaths for M {
    fn maths_f32(&self, inputs: &[&Array<f32>]) -> Vec<Array<f32>> {
        self.maths(inputs)
    }
    fn maths_f64(&self, inputs: &[&Array<f64>]) -> Vec<Array<f64>> {
        self.maths(inputs)
    }
}

/// An operation.
pub trait Op: AnyMaths + Any + Debug + Send + Sync {
    /// Its name: the file that it lives in, and its folder under `shaders/`.
    fn name(&self) -> &'static str;

    /// What it makes of these inputs.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;

    /// Writes down the kernel calls that compute it.
    fn record(&self, io: &Io<'_>, out: &mut Recording);

    /// Adds to the graph what computes the gradients of the inputs from those of the outputs (`grads`, one an output).
    ///
    /// # Errors
    /// When the op has no gradient; that is what this default says.
    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let _ = (node, grads, graph);
        Err(GraphError::NoGradient {
            op: self.name().to_owned(),
            why: "it is itself part of a backward pass or an update",
        })
    }

    /// Adds to the graph what makes the outputs of `node` again, to the bit, for a backward pass that has not kept them.
    /// What costs next to nothing to keep may be kept, and read. By default the op is applied a second time, unless it
    /// updates anything: that must happen once, and the old numbers are gone.
    ///
    /// # Errors
    /// When an op refuses its inputs: a fault of the op.
    fn again(&self, node: &Node, graph: &mut Graph) -> Repetition {
        if !self.updates().is_empty() {
            return Ok(None);
        }
        Ok(Some(graph.apply_shared(node.op.clone(), &node.inputs)?))
    }

    /// Adds to the graph the smaller ops that the op is made of, where it is: the same maths by other kernels, and by
    /// other gradient rules.
    ///
    /// # Errors
    /// When one of those refuses its inputs.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let _ = (inputs, graph);
        Ok(None)
    }

    /// The op that does this one and then `next`, where there is one: `next` reads output 0 of this op, which has `inputs`
    /// inputs, as its input `at`, and one of the two has one output. The op in their place takes this one's inputs, then
    /// `next`'s others; its outputs are those of `next`, then this one's others, or then this one's all.
    /// [`Graph::fused`] asks.
    fn then(&self, next: &dyn Op, at: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let _ = (next, at, inputs);
        None
    }

    /// Adds to the graph what makes the same outputs by other ops that cost less, such as products in another order, where what makes
    /// the op's inputs allows it; `None` where it does not. [`Graph::fused`] asks.
    ///
    /// # Errors
    /// When an op refuses its inputs: a fault of this one.
    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let _ = (inputs, graph);
        Ok(None)
    }

    /// The op for `images` images in the place of all, where it computes every image of its batch from that image and from
    /// what all have in common. Plans cut batches so whose tensors no binding holds. By default images are not known to
    /// be independent.
    fn by_image(&self, inputs: &[Tensor], images: usize) -> Option<ByImage> {
        let _ = (inputs, images);
        None
    }

    /// The two ops that this one does one after the other, where what stands between them is stored on the way. Tiles are
    /// tried, kept and found for the first; what the second may err by counts the rounding of what it reads.
    fn stages(&self) -> Option<Stages> {
        None
    }

    /// The maths in f32 with the roundings that a kernel may add to them on its way, where it hands numbers from one product to
    /// the next in the tensors' element type; what errors are measured by. By default kernels add none.
    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        let _ = (inputs, outputs);
        None
    }

    /// Pairs (input, output) that share memory: the kernel binds the output, read and written, and never the input.
    /// The input must be a stored value, and the output is what is stored from then on.
    fn updates(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// The inputs that an update goes through element by element, doing the same to each; the others all elements have in common. Tensors
    /// that lie side by side are then given to it as one. By default there are none.
    fn by_element(&self, inputs: &[Tensor]) -> Vec<usize> {
        let _ = inputs;
        Vec::new()
    }

    /// From which input on it asks something of all numbers together, whichever tensors they are of, and zeros do not matter. Tensors that lie
    /// side by side, with zeros between, are then given to it as one. By default it asks nothing such.
    fn gathers(&self) -> Option<usize> {
        None
    }

    /// Whether the output is the input seen in another shape: no kernel runs and no memory is taken.
    fn is_view(&self) -> bool {
        false
    }

    /// Functions on the path from input to output that a GPU may round worse than arithmetic.
    fn functions(&self) -> &'static [Function] {
        &[]
    }

    /// Multiply-adds and bytes, for rooflines; by default no multiply-adds, and every input and output once.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        Cost { multiply_adds: 0, bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum() }
    }

    /// How many times the plainest loops go around, roughly: what comes from outside is refused by it before it runs
    /// for hours. By default the multiply-adds, and once for every number.
    fn work(&self, inputs: &[Tensor], outputs: &[Tensor]) -> u64 {
        let numbers = inputs.iter().chain(outputs).map(|tensor| tensor.shape.count() as u64);
        numbers.fold(self.cost(inputs, outputs).multiply_adds, u64::saturating_add)
    }
}

impl dyn Op {
    /// What is asked for by this op on such inputs, in words that are the same for the same: `Conv2d { .. } f16 [..] f16
    /// [..]`. [`Choices`](crate::kernel::tuning::Choices) are kept under it.
    #[must_use]
    pub fn asked(&self, inputs: &[Tensor]) -> String {
        match self.stages() {
            Some(stages) => stages.first.asked(inputs.get(..stages.inputs).unwrap_or(inputs)),
            None => inputs.iter().fold(format!("{self:?}"), |asked, tensor| format!("{asked} {tensor}")),
        }
    }

    /// The kernel calls that compute it on such a machine, with the tiles that were chosen there for it.
    #[must_use]
    pub fn recorded(&self, inputs: &[Tensor], outputs: &[Tensor], machine: &Capabilities) -> Recording {
        let mut recording = Recording::default();
        let machine = &*machine.asked(|| self.asked(inputs));
        self.record(&Io { inputs, outputs, machine }, &mut recording);
        recording
    }

    /// This op as an `O`, if it is one.
    #[must_use]
    pub fn downcast<O: Op>(&self) -> Option<&O> {
        (self as &dyn Any).downcast_ref()
    }
}

/// An op as two: the second takes output 0 of the first, then the op's other inputs; the op's outputs are those of the
/// second, then those of the first.
#[derive(Debug)]
pub struct Stages {
    /// The first.
    pub first: Box<dyn Op>,
    /// How many of the op's inputs it takes: the first ones.
    pub inputs: usize,
    /// The second.
    pub then: Box<dyn Op>,
}

/// A function whose error the GPU's specification bounds more loosely than that of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// e^x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root, or one over it.
    Sqrt,
    /// Division.
    Divide,
    /// A fitted polynomial (the normal distribution in GELU).
    Polynomial,
}

/// What an op costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

/// What an op records for: the types of its inputs and outputs, and the machine.
#[derive(Debug)]
pub struct Io<'a> {
    /// The inputs.
    pub inputs: &'a [Tensor],
    /// The outputs.
    pub outputs: &'a [Tensor],
    /// What the machine offers.
    pub machine: &'a Capabilities,
}

impl Io<'_> {
    /// Input `at`, as a binding.
    #[must_use]
    pub fn input(&self, at: usize) -> View {
        debug_assert!(at < self.inputs.len());
        View::Input(at)
    }

    /// Output `at`, as a binding.
    #[must_use]
    pub fn output(&self, at: usize) -> View {
        debug_assert!(at < self.outputs.len());
        View::Output(at)
    }

    /// The sizes of input `at`.
    #[must_use]
    pub fn input_dims<const N: usize>(&self, at: usize) -> [usize; N] {
        self.inputs[at].shape.dims()
    }

    /// The sizes of output `at`.
    #[must_use]
    pub fn output_dims<const N: usize>(&self, at: usize) -> [usize; N] {
        self.outputs[at].shape.dims()
    }

    /// The element type of input `at`.
    #[must_use]
    pub fn elem(&self, at: usize) -> Elem {
        self.inputs[at].elem
    }
}
