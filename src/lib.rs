//! Hand-written WGSL kernels for Visual Transformers, forward and backward, and what runs them.

#[macro_use]
pub mod kernel;
pub mod bench;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod ops;
pub mod plan;
pub mod reference;
pub mod train;
pub mod verify;

pub use wgpu;
