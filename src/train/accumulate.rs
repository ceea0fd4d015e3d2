//! Gradients of micro-batches, as a part of the training step: summed, or at last their mean.

use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::ops::{Accumulate, Accumulated};

/// The home of sums of gradients, f32, under the parameters' names. Between steps they are 0, so that no file has them.
pub const ACCUMULATED: &str = "accumulated";

/// Which part of a step a graph computes: a batch may be cut into micro-batches, whose gradients are summed in [`ACCUMULATED`].
///
/// Statistics of batch normalization are of each micro-batch by itself, and the running averages move with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MicroBatch {
    /// All of it: one batch.
    #[default]
    Whole,
    /// One that is not the last: its gradients are added to the sums, and no weight moves.
    Added,
    /// The last one: weights move by the mean of the gradients of all, and the sums are 0 again.
    Last {
        /// How many there are.
        of: u32,
    },
}

impl MicroBatch {
    /// What becomes of gradients, which are the mean over all micro-batches afterwards; whether anything is updated by them.
    pub(super) fn gather(self, graph: &mut Graph, gradients: &mut [(String, Value)]) -> Result<bool, GraphError> {
        for (name, gradient) in gradients {
            let sum = Tensor::f32(graph.tensor(*gradient).shape.clone());
            match self {
                Self::Whole => {}
                Self::Added => {
                    let sum = graph.stored(ACCUMULATED, name, sum)?;
                    graph.scoped(name.clone(), |graph| graph.apply(Accumulate, &[sum, *gradient]))?;
                }
                Self::Last { of } => {
                    let sum = graph.stored(ACCUMULATED, name, sum)?;
                    let mean = Accumulated { count: of };
                    *gradient = graph.scoped(name.clone(), |graph| graph.apply(mean, &[sum, *gradient]))?[0];
                }
            }
        }
        Ok(self != Self::Added)
    }
}
