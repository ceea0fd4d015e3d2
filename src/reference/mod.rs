//! The CPU's answer: arrays and numbers that the maths of ops is written over.
//!
//! **Absent here**: speed, WGSL, graphs.

mod array;
mod random;
mod real;

pub use array::Array;
pub(crate) use array::PIECE;
pub use random::Random;
pub use real::Real;
