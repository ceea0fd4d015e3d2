//! How fast are the kernels? Every op on the shapes of real models, beside what the machine could do at best.
//!
//! **Absent here**: how results are printed, models, and judging whether a result is right.

mod ceilings;
mod subject;

pub use ceilings::{Bound, Ceilings};
pub use subject::{BenchError, Measurement, Pass, Subject, subjects};
