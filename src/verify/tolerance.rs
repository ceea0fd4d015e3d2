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

/// Draws over which the yardstick of a whole graph is taken at most; more are drawn only while an output is out of it
/// and every node is right. Deep networks in f16 scatter widely: of 60 honest runs of the demo's network one was out
/// of 8 draws, by 4 %.
pub(super) const WHOLE_DRAWS: u64 = 32;

/// How far a neighbor stands from a node's inputs, as a share of each number: far enough that the f32 maths rounds
/// anew, so near that it errs by as much. A node that a graph hands its inputs has no draws of its own: where few
/// numbers come out, the yardstick's luck is evened out over such neighbors.
pub(super) const NEIGHBOR: f64 = 1.0 / 1024.0;

/// How far a node's inputs are moved, as a share of each number, to learn what roundings of its terms come to: where terms
/// cancel, a result is a few roundings of them, however small it is itself.
pub(super) const TERMS_MOVE: f64 = ROUNDINGS * Elem::F32.rounding();

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

/// Relative error above which a gradient rule is not the derivative of its maths, f64. Right rules stay below 1e-9, and
/// an error of 0.1 % in one gradient shows as 1e-4 or more.
pub(super) const GRADIENT: f64 = 1e-7;

/// Relative uncertainty of a numerical derivative beyond which it says nothing: a kink such as ReLU's, or few digits left.
pub(super) const UNCLEAR: f64 = 1e-6;

/// Relative error above which a composition is not its op: both are f64, and a long program loses some digits.
pub(super) const COMPOSITION: f64 = 1e-9;

/// A share by which numbers are moved that is many roundings of f64, and no more than f64 maths errs by in all.
pub(super) const NEXT_TO_NOTHING: f64 = 1e-14;

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
        // Whole numbers are not rounded; where they are chosen by numbers that are (the place of a maximum), the yardstick
        // chooses too.
        let f32_error = match elem {
            Elem::U32 => 0.0,
            _ => (ROUNDINGS + function_roundings) * Elem::F32.rounding() * largest,
        };
        let roundings = if elem == Elem::F16 { HALF_ROUNDINGS } else { 1.0 };
        Self { everywhere: TIMES_YARDSTICK * yardstick + f32_error, relative: roundings * elem.rounding() }
    }

    /// The error allowed for an element whose true value is `truth`.
    #[must_use]
    pub(super) fn allowed(&self, truth: f64, elem: Elem) -> f64 {
        // Numbers below f16's least normal one (6.1e-5) are spaced 6e-8 apart; below f32's a machine may flush them to 0.
        let subnormal = if elem == Elem::F16 { 3e-8 } else { f64::from(f32::MIN_POSITIVE) };
        self.everywhere + self.relative * truth.abs() + subnormal
    }
}

/// What a case file allows: beside a number of the file, and beside the largest one of its tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    absolute: f64,
    /// Times an element's size.
    relative: f64,
    /// Times the size of the tensor's largest element.
    of_largest: f64,
}

/// Roundings between a file computed in f64 and our maths in f64: the file's, and room for sums in another order.
const FILE_ROUNDINGS: f64 = 2.0;

impl Told {
    /// Nothing: whole numbers are equal or not.
    pub(super) const EXACT: Self = Self { absolute: 0.0, relative: 0.0, of_largest: 0.0 };

    /// A number `t`: t times the tensor's largest magnitude. A pair `[a, r]`: a + r times the element's magnitude.
    ///
    /// # Errors
    /// When it is neither, negative, no number, or so wide that zeros would pass everywhere.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let one = serde_json::from_str::<f64>(text).map(|of_largest| Self { of_largest, ..Self::EXACT });
        let two = || {
            serde_json::from_str(text).map(|[absolute, relative]: [f64; 2]| Self {
                absolute,
                relative,
                of_largest: 0.0,
            })
        };
        let told = one.or_else(|_| two()).map_err(|_| {
            format!("is `{text}`, and must be a number, times the largest magnitude, or [absolute, relative]")
        })?;
        let small = |share: f64| (0.0..1.0).contains(&share);
        match told.absolute.is_finite() && told.absolute >= 0.0 && small(told.relative) && small(told.of_largest) {
            true => Ok(told),
            false => {
                Err(format!("is `{text}`; what is relative must be from 0 to below 1, what is absolute not below 0"))
            }
        }
    }

    /// For numbers computed in f64 and rounded to this element type.
    pub(super) const fn rounded(elem: Elem) -> Self {
        Self { of_largest: FILE_ROUNDINGS * elem.rounding(), ..Self::EXACT }
    }

    /// The error allowed beside `given`, in a tensor whose largest magnitude is `largest`.
    pub(super) fn allowed(&self, given: f64, largest: f64) -> f64 {
        let of = |share: f64, size: f64| if share == 0.0 { 0.0 } else { share * size };
        self.absolute + of(self.relative, given.abs()) + of(self.of_largest, largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::verify::expected::Truths;

    /// What is allowed for a typical number of every output of every small case, as a share of that number; of f16
    /// attention, whose weights are rounded between two products, or of all else.
    fn shares(wanted: Elem, attention: bool) -> Vec<(f64, String)> {
        let mut shares = Vec::new();
        for case in ops::cases().into_iter().filter(|case| case.real.is_none()) {
            for expected in Truths::new(&case, wanted).expect("a case's shapes fit") {
                let op = &expected.node.op;
                if (wanted == Elem::F16 && op.name().starts_with("attend")) != attention {
                    continue;
                }
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
        let classes = [(Elem::F32, false, 3e-5), (Elem::F16, false, 1.1e-3), (Elem::F16, true, 1e-2)];
        for (elem, attention, most) in classes {
            let shares = shares(elem, attention);
            let (share, output) = &shares[shares.len() * 9 / 10];
            assert!(share < &most, "{elem}: a tenth of all outputs may err by {share:.1e} of their size: {output}");
            let (share, output) = &shares[shares.len() - 1];
            assert!(share < &0.1, "{elem}: {output} may err by {share:.1e} of its size");
        }
    }
}
