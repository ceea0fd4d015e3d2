//! What can go wrong in training, each with its remedy.

use super::checkpoint::CheckpointError;
use super::data::DataError;
use crate::gpu;
use crate::graph::GraphError;
use crate::plan::PlanError;

/// Why a model was not trained or evaluated.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model does not fit its input.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph does not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A weight file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Images and model do not belong together.
    #[error("{what}: {found}, and the model is for {expected}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What the images have.
        found: String,
        /// What the model was made for.
        expected: String,
    },
    /// The loss is no number any more.
    #[error("the loss is {loss} at step {step}: lower the learning rate, or look for its first bad value")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f32,
    },
}
