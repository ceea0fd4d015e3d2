//! How a model learns: images, batches and what to compare its accuracy with.
//!
//! Absent here: kernels and shapes of operations; the optimizer is an op like any other.

pub mod baseline;
pub mod batches;
pub mod data;
pub mod idx;
