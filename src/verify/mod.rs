//! Is the kernel right? Rules against derivatives, kernels against maths.
//!
//! **Absent here**: tolerances outside `tolerance.rs`.

mod compare;
mod gradient;
mod qualify;
mod record;
mod tolerance;

pub use compare::{CompareError, Row, compare};
pub use gradient::{GradientFault, check_gradient};
pub use qualify::{Qualified, open_qualified};
pub use record::{record, recordings, uses_fragments, with_gradients};
