//! Is the kernel right? Rules against derivatives, kernels against maths.
//!
//! **Absent here**: tolerances outside `tolerance.rs`.

mod compare;
mod gradient;
mod tolerance;

pub use compare::{CompareError, Row, compare};
pub use gradient::{GradientFault, check_gradient};
