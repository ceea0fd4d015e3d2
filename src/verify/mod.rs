//! Is the kernel right? Rules against derivatives, kernels against maths.
//!
//! **Absent here**: tolerances outside `tolerance.rs`.

mod gradient;

pub use gradient::{GradientFault, check_gradient};
