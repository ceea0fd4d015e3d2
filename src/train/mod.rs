//! How a model learns: images, batches and what to compare its accuracy with.
//!
//! Absent here: kernels and shapes of operations; the optimizer is an op like any other.

mod accumulate;
pub mod augment;
mod average;
pub mod baseline;
pub mod batches;
pub mod checkpoint;
mod cifar;
pub mod data;
mod diverged;
mod error;
mod evaluate;
mod feed;
pub mod files;
#[cfg(feature = "images")]
mod folder;
pub mod idx;
mod keeping;
mod machine;
#[cfg(feature = "images")]
pub mod masked;
mod optimizer;
#[cfg(feature = "images")]
pub mod pictures;
pub mod recipe;
mod recompute;
pub mod regularize;
mod report;
mod samples;
pub mod scenes;
mod schedule;
mod settings;
#[cfg(all(feature = "images", feature = "data"))]
pub mod shards;
mod skipping;
pub mod step;
mod stepping;
mod teacher;
mod trainer;
pub mod weights;

pub use accumulate::{ACCUMULATED, MicroBatch};
pub use error::TrainError;
pub use evaluate::{Evaluator, Score, Segmented};
pub use keeping::{best_file, older_file};
pub use optimizer::{CORRECTION, FIRST_MOMENT, Optimizer, Rule, SECOND_MOMENT, SQUARES};
pub use recompute::Recompute;
pub use report::{Ended, Report, Resumed};
pub use samples::{Chance, Samples, Split, UNREAD, View};
pub use schedule::{Schedule, Then};
pub use settings::Settings;
pub use skipping::Skipping;
pub use teacher::{Distilled, LogitsFile, Teacher};
pub use trainer::Trainer;
