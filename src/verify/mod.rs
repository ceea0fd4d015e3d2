//! Is the kernel right? Rules against derivatives, twins against WGSL, kernels against maths.
//!
//! The same three checks serve the crate's own ops and those of whoever links it: [`check_gradient`],
//! [`check_interfaces`] (both without a GPU) and [`compare`]. [`compare_whole`] does for a graph, as it is planned and
//! run, what [`compare`] does for an op, and names the first step that is wrong. What other frameworks computed is
//! replayed from a [`CaseFile`]. [`programs`] draws random graphs of all ops and demands all of it of them;
//! [`sabotage`] changes kernels and rules, and demands that all of it notices.
//!
//! **Absent here**: tolerances outside `tolerance.rs`.

mod bisect;
mod case_file;
mod compare;
mod end_to_end;
mod expected;
mod gradient;
mod interface;
mod outside;
pub mod programs;
mod qualify;
mod record;
pub mod sabotage;
pub mod suite;
mod tolerance;
mod whole;

pub use case_file::{CaseFile, CaseFileError, CaseRow, ReplayError, Witness};
pub(crate) use compare::encode;
pub use compare::{CompareError, Row, compare};
pub use gradient::{GradientFault, check_gradient};
pub use interface::{Build, InterfaceFault, builds, check_interfaces};
pub use qualify::{Qualified, open_qualified};
pub use record::{record, recordings, uses_fragments, with_gradients};
pub use whole::{Cause, Divergence, Leaf, OutputRow, Place, Whole, compare_whole, compare_whole_telling};
