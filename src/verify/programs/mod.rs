//! Random programs: drawn from the cases of a pool of ops, checked in every way that we know, shrunk where they fail.
//!
//! A [`Program`] is data: steps that name an op and the values that it is applied to, with what is differentiated and
//! what is wanted. It prints as text that [`Pool::read`] takes back, so that a failing program is a few lines that can
//! be kept and replayed. [`draw`] makes one, [`Campaign`] checks it, [`shrink`] makes it smaller.

mod again;
mod build;
mod campaign;
mod check;
mod composition;
mod draw;
mod fit;
mod flow;
mod fusion;
mod machine;
mod pool;
mod program;
mod shrink;
mod text;

pub use again::Parts;
pub use build::{Built, ProgramError};
pub use campaign::{Campaign, Finding, Outcome};
pub use check::{Failure, Kind};
pub use composition::check_composition;
pub use draw::{Limits, draw};
pub use machine::Machine;
pub use pool::Pool;
pub use program::{Leaf, Program, Step};
pub use shrink::shrink;
