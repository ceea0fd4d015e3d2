//! Where a model is built: the graph, the parameters, and whether it will train.

use std::fmt::Debug;

use super::Parameters;
use crate::graph::{Graph, GraphError, Value};

/// What a graph is for. Both kinds of one model have the same parameters under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm uses the batch's statistics and moves the running averages.
    Train,
    /// Batch norm uses the running averages.
    Evaluate,
}

/// A graph under construction, with what its layers need.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The model's parameters.
    pub parameters: &'a mut Parameters,
    /// What the graph is for.
    pub mode: Mode,
}

impl Builder<'_> {
    /// Builds a part under a name; its nodes and parameters carry the name.
    pub fn scoped<T>(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Builder<'_>) -> T) -> T {
        let (parameters, mode) = (&mut *self.parameters, self.mode);
        self.graph.scoped(name, |graph| build(&mut Builder { graph, parameters, mode }))
    }

    /// The sizes of a value.
    #[must_use]
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.graph.tensor(value).shape
    }
}

/// A network that classifies images.
pub trait Model: Debug {
    /// The name under which [`by_name`](super::by_name) finds it again, such as `resnet18`.
    fn name(&self) -> &str;

    /// Every option of the model in one line, from which [`Network`](super::Network) makes it again: what checkpoints note.
    /// A model of another crate may describe itself as it likes; its own code makes it again.
    fn description(&self) -> String;

    /// How many classes it tells apart.
    fn classes(&self) -> usize;

    /// The scopes of its blocks, from the images on: what a backward pass may make again instead of keeping it.
    fn blocks(&self) -> Vec<String>;

    /// Adds the network: images `[N, H, W, C]` → logits `[N, classes]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    fn logits(
        &self,
        graph: &mut Graph,
        parameters: &mut Parameters,
        images: Value,
        mode: Mode,
    ) -> Result<Value, GraphError>;
}
