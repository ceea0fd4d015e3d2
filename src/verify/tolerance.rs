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
