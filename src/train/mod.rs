//! How a model learns: images, batches and what to compare its accuracy with.
//!
//! Absent here: kernels and shapes of operations; the optimizer is an op like any other.

pub mod augment;
pub mod baseline;
pub mod batches;
pub mod checkpoint;
pub mod data;
mod error;
mod evaluate;
mod feed;
pub mod files;
pub mod idx;
mod machine;
#[cfg(feature = "images")]
pub mod masked;
pub mod recipe;
mod recompute;
mod samples;
pub mod scenes;
mod schedule;
pub mod step;
mod trainer;
pub mod weights;

pub use error::TrainError;
pub use evaluate::{Evaluator, Score, Segmented};
pub use recompute::Recompute;
pub use samples::{Samples, Split, View};
pub use schedule::Schedule;
pub use trainer::{Ended, Report, Resumed, Settings, Trainer};
