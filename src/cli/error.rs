//! Why a command failed: one line that names the thing and the remedy.

use std::io;

use vistok::bench::BenchError;
use vistok::gpu;
use vistok::graph::GraphError;
use vistok::infer::InferError;
use vistok::models::NetworkError;
use vistok::picture::PictureError;
use vistok::plan::PlanError;
use vistok::train::TrainError;
use vistok::train::checkpoint::CheckpointError;
use vistok::train::data::DataError;
use vistok::train::recipe::RecipeError;
use vistok::train::weights::WeightsError;
use vistok::tune::{StoreError, TuneError};
use vistok::verify::CompareError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Infer(#[from] InferError),
    #[error(transparent)]
    Seen(#[from] PictureError),
    #[error(transparent)]
    Tune(#[from] TuneError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {source}; {remedy}")]
    File { path: String, source: io::Error, remedy: &'static str },
    #[error("{file}: {source}; {kept}")]
    Unwritten { file: String, source: io::Error, kept: String },
    #[error("{0}")]
    Picture(String),
    #[error(transparent)]
    Model(#[from] NetworkError),
    #[error("`{filter}` matches none of the {count} {what}; `vistok {command}` without a filter runs all of them")]
    Filter { filter: String, count: usize, what: &'static str, command: &'static str },
    #[error("{failed} of {compared} comparisons failed, the output says which; please report it with `vistok devices`")]
    Failed { failed: usize, compared: usize },
    #[error("nothing was compared: {reason}")]
    Nothing { reason: String },
    #[error("interrupted after {done} of {steps} steps; {kept}")]
    Interrupted { done: u64, steps: u64, kept: String },
    #[error("{error}; {remedy}")]
    Broken { error: TrainError, remedy: &'static str },
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether the device was lost, which a driver may do instead of saying that it cannot compile a kernel.
    pub(crate) fn is_lost_device(&self) -> bool {
        match self {
            Self::Gpu(gpu::Error::Lost { .. })
            | Self::Checkpoint(CheckpointError::Gpu(gpu::Error::Lost { .. }))
            | Self::Weights(WeightsError::Gpu(gpu::Error::Lost { .. }))
            | Self::Infer(
                InferError::Gpu(gpu::Error::Lost { .. })
                | InferError::Weights(WeightsError::Gpu(gpu::Error::Lost { .. })),
            )
            | Self::Tune(TuneError::Gpu(gpu::Error::Lost { .. })) => true,
            Self::Train(error) => error.is_lost_device(),
            _ => false,
        }
    }
}

impl From<BenchError> for Error {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Graph(error) => error.into(),
            BenchError::Plan(error) => error.into(),
            BenchError::Gpu(error) => error.into(),
        }
    }
}

impl From<CompareError> for Error {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Graph(error) => error.into(),
            CompareError::Plan(error) => error.into(),
            CompareError::Gpu(error) => error.into(),
        }
    }
}

/// An error without line breaks: drivers and compilers like to tell stories.
pub(crate) fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn stories_become_lines() {
        assert_eq!(super::one_line(&"it failed\n  because\n\nof this\n"), "it failed / because / of this");
    }
}
