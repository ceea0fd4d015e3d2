//! Modules that the paper compares its own with.

pub mod augmented;
