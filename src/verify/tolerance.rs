//! How much error is honest. Every tolerance stands here and nowhere else.

use crate::graph::Function;
use crate::kernel::Elem;

/// The GPU may err by this many times what the same maths errs by in f32 on the CPU (the yardstick): flash-attention's
/// rule. The GPU sums in another order and contracts multiply-adds, which is as honest as the yardstick.
const TIMES_YARDSTICK: f64 = 2.0;

/// Roundings of f32 that a result of any size may show: outputs of a few terms can meet the yardstick's luck.
const ROUNDINGS: f64 = 4.0;

/// Roundings of f16 that an element may show: storing it takes one. The other is for sums by cooperative matrices, whose
/// f32 is truncated more often than rounded on some hardware.
const HALF_ROUNDINGS: f64 = 2.0;

/// Bound on a function's error in units of f32 roundoff, relative to the largest number of an output (Vulkan's "precision
/// and operation of SPIR-V instructions", where exp is 3 + 2|x| ulp, each ulp two roundoffs). Kernels take exp of what is at
/// most 0, so its error e^x (3 + 2|x|) is nowhere larger than at 0, compared with the largest number, which is e^0.
const fn roundings(function: Function) -> f64 {
    match function {
        Function::Exp => 6.0,
        Function::Log => 6.0,
        Function::Sqrt => 6.0,
        Function::Divide => 5.0,
        Function::Polynomial => 8.0,
    }
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
        let roundings = if elem == Elem::F16 { HALF_ROUNDINGS } else { 1.0 };
        Self { everywhere: TIMES_YARDSTICK * yardstick + f32_error, relative: roundings * elem.rounding() }
    }

    /// The error allowed for an element whose true value is `truth`.
    #[must_use]
    pub(super) fn allowed(&self, truth: f64, elem: Elem) -> f64 {
        // Numbers below f16's least normal one (6.1e-5) are spaced 6e-8 apart.
        let subnormal = if elem == Elem::F16 { 3e-8 } else { 0.0 };
        self.everywhere + self.relative * truth.abs() + subnormal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::verify::expected::Walk;

    /// What is allowed for a typical number of every output of every small case, as a share of that number.
    fn shares(wanted: Elem) -> Vec<(f64, String)> {
        let mut shares = Vec::new();
        for case in ops::cases().into_iter().filter(|case| case.real.is_none()) {
            for expected in Walk::new(&case, wanted).expect("a case's shapes fit") {
                let op = &expected.node.op;
                for (tensor, truth) in expected.outputs.iter().zip(&expected.truths) {
                    let tolerance = Tolerance::new(truth.yardstick, truth.largest, tensor.elem, op.functions());
                    let share = tolerance.allowed(truth.typical, tensor.elem) / truth.typical;
                    if tensor.elem == wanted && share.is_finite() {
                        shares.push((share, format!("{} of {}", op.name(), case.name())));
                    }
                }
            }
        }
        shares.sort_by(|one, other| one.0.total_cmp(&other.0));
        shares
    }

    #[test]
    fn no_plausible_fault_is_allowed() {
        // Nine tenths of all outputs may err by a few roundings; those whose terms cancel, or whose scores are multiplied
        // by 40, by more, and none by so much that a missing term or a swapped pair would pass.
        for (elem, most) in [(Elem::F32, 3e-5), (Elem::F16, 1.1e-3)] {
            let shares = shares(elem);
            let (share, output) = &shares[shares.len() * 9 / 10];
            assert!(share < &most, "{elem}: a tenth of all outputs may err by {share:.1e} of their size: {output}");
            let (share, output) = &shares[shares.len() - 1];
            assert!(share < &0.1, "{elem}: {output} may err by {share:.1e} of its size");
        }
    }
}
