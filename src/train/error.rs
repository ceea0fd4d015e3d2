//! What can go wrong in training, each with its remedy.

use super::checkpoint::CheckpointError;
use super::data::DataError;
use super::weights::WeightsError;
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
    /// A teacher's file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
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
    /// The loss, or a weight that was to be kept, is no finite number any more.
    #[error(
        "in step {step} {what}; {found}; {kept}. Begin again with a lower learning rate (--rate, --warm-up) or clipped gradients (--clip), \
         or look at what is named"
    )]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// What was seen: `the loss is NaN`.
        what: String,
        /// The first bad value, with its step, kernel, op, scope, shape and place; or why it was not found.
        found: String,
        /// What is kept of the run.
        kept: String,
    },
    /// The machine or the disk failed in the middle of a run.
    #[error("in step {step}: {source}; {kept}")]
    Step {
        /// The step, counted from 1 as in [`Report`](super::Report).
        step: u64,
        /// What failed.
        source: Box<Self>,
        /// What is kept of the run.
        kept: String,
    },
    /// A step was begun and not seen to end, so nobody knows which step the weights are of.
    #[error(
        "step {step} was begun and its end not seen, so the weights may be of before it or after: continue from a checkpoint"
    )]
    Torn {
        /// The step, counted from 1.
        step: u64,
    },
}

impl TrainError {
    /// Whether the device was lost: then everything on it is gone, and a new device continues from a checkpoint.
    #[must_use]
    pub fn is_lost_device(&self) -> bool {
        match self {
            Self::Gpu(gpu::Error::Lost { .. }) | Self::Checkpoint(CheckpointError::Gpu(gpu::Error::Lost { .. })) => {
                true
            }
            Self::Step { source, .. } => source.is_lost_device(),
            _ => false,
        }
    }
}
