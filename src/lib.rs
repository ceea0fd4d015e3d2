//! Hand-written WGSL kernels for Visual Transformers, forward and backward, on any GPU that wgpu reaches.

pub mod train;
