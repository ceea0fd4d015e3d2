//! How much error is honest. Every tolerance stands here and nowhere else.

use crate::graph::Function;
use crate::kernel::Elem;

/// The GPU may err by this many times what the same maths errs by in f32 on the CPU (the yardstick): flash-attention's
/// rule. The GPU sums in another order and contracts multiply-adds, which is as honest as the yardstick.
const TIMES_YARDSTICK: f64 = 2.0;

/// Roundings of f32 that a result of any size may show: outputs of a few terms can meet the yardstick's luck.
const ROUNDINGS: f64 = 4.0;

/// Bound on a function's error in units of f32 roundoff (Vulkan's "precision and operation of SPIR-V instructions";
/// exp is 3 + 2|x| there, taken at |x| = 16, the largest that cases reach).
const fn roundings(function: Function) -> f64 {
    match function {
        Function::Exp => 2.0 * (3.0 + 2.0 * 16.0),
        Function::Log => 6.0,
        Function::Sqrt => 6.0,
        Function::Divide => 5.0,
        Function::Polynomial => 8.0,
    }
}

/// Draws over which the yardstick of a whole graph is taken at most; more are drawn only while an output is out of it
/// and every node is right. Deep networks in f16 scatter widely: of 60 honest runs of the demo's network one was out
/// of 8 draws, by 4 %.
pub(super) const WHOLE_DRAWS: u64 = 32;

/// How far a neighbor stands from a node's inputs, as a share of each number: far enough that the f32 maths rounds
/// anew, so near that it errs by as much. A node that a graph hands its inputs has no draws of its own: where few
/// numbers come out, the yardstick's luck is evened out over such neighbors.
pub(super) const NEIGHBOR: f64 = 1.0 / 1024.0;

/// How far an honest machine may move a result away from another's, as a share of it: by a rounding of the type that
/// stores it, and by what the functions on the way are allowed.
///
/// Errors of a node travel through the rest of its graph, and how much they grow there is a matter of the graph: of
/// cancellations, and of choices (the side of a ReLU, the place of a maximum) that a rounding can turn. So no constant
/// could say what an output of a whole graph may err by. Its yardstick is the f32 maths of all nodes, each result
/// stored as its element type stores it; once as it is, then with every result moved at random by up to this much: the
/// errors that other orders of summing would have made. (Moved by a rounding of f32, f16 would hardly ever store
/// another number, and all draws would err alike.) The largest of these errors is doubled, as for one node.
pub(super) fn honest_move(elem: Elem, functions: &[Function]) -> f64 {
    elem.rounding() + functions.iter().map(|&function| roundings(function)).sum::<f64>() * Elem::F32.rounding()
}

/// What is allowed for one output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// For every element.
    everywhere: f64,
    /// Times an element's size.
    relative: f64,
}

impl Tolerance {
    /// From the yardstick's largest error over an output, the output's largest number, its element type, and the
    /// functions on the way to it.
    #[must_use]
    pub(super) fn new(yardstick: f64, largest: f64, elem: Elem, functions: &[Function]) -> Self {
        let function_roundings: f64 = functions.iter().map(|&function| roundings(function)).sum();
        let f32_error = (ROUNDINGS + function_roundings) * Elem::F32.rounding() * largest;
        Self { everywhere: TIMES_YARDSTICK * yardstick + f32_error, relative: elem.rounding() }
    }

    /// The error allowed for an element whose true value is `truth`.
    #[must_use]
    pub(super) fn allowed(&self, truth: f64, elem: Elem) -> f64 {
        // Numbers below f16's least normal one (6.1e-5) are spaced 6e-8 apart.
        let subnormal = if elem == Elem::F16 { 3e-8 } else { 0.0 };
        self.everywhere + self.relative * truth.abs() + subnormal
    }
}
