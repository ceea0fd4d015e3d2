//! Layers of the systems that the paper compares itself with.

pub mod local_relation;
