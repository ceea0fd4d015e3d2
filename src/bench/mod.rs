//! How fast are the kernels? Every op on the shapes of real models, and whole models, beside what the machine could do at best.
//!
//! **Absent here**: how results are printed, and judging whether a result is right.

use std::time::Duration;

mod ceilings;
mod count;
mod model;
mod subject;
mod suites;

pub use ceilings::{Bound, Ceilings};
pub use count::{Count, Layer, Part};
pub use model::{ModelMeasurement, ModelSubject, Task};
pub use subject::{BenchError, Measurement, Pass, Subject, subjects};
pub use suites::Suite;

/// How long a GPU is worked before anything counts: one that waited for tensors to be uploaded has let its clock fall, to a
/// third and less.
pub const WARM_UP: Duration = Duration::from_millis(300);
