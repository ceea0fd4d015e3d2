//! Where a model is built: the graph, the parameters, and whether it will train.

use std::fmt::Debug;

use super::Parameters;
use crate::graph::{Graph, GraphError, Shape, Value};

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

/// What a network tells the class of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Each image: logits `[N, classes]`, labels `[N]`.
    Images,
    /// Each pixel: logits `[N, H, W, classes]`, labels `[N, H, W]`, of which [`IGNORED`] is none.
    Pixels,
}

/// The label of pixels that nobody labeled, as in Detectron2: it counts neither in a loss nor in a score.
pub const IGNORED: u32 = 255;

impl Target {
    /// The shape of the labels of such images `[N, H, W, C]`.
    #[must_use]
    pub fn labels(self, images: [usize; 4]) -> Shape {
        match self {
            Self::Images => Shape::from(&images[..1]),
            Self::Pixels => Shape::from(&images[..3]),
        }
    }

    /// The label that does not count.
    #[must_use]
    pub const fn ignored(self) -> Option<u32> {
        match self {
            Self::Images => None,
            Self::Pixels => Some(IGNORED),
        }
    }
}

/// A network that classifies images or their pixels.
pub trait Model: Debug {
    /// The name under which [`by_name`](super::by_name) finds it again, such as `resnet18`.
    fn name(&self) -> &str;

    /// Every option of the model in one line, from which [`Network`](super::Network) makes it again: what checkpoints note.
    /// A model of another crate may describe itself as it likes; its own code makes it again.
    fn description(&self) -> String;

    /// How many classes it tells apart.
    fn classes(&self) -> usize;

    /// What it tells the class of.
    fn target(&self) -> Target {
        Target::Images
    }

    /// The scopes of its blocks, from the images on: what a backward pass may make again instead of keeping it.
    fn blocks(&self) -> Vec<String>;

    /// Adds the network: images `[N, H, W, C]` → logits `[N, classes]` of images or `[N, H, W, classes]` of pixels, as
    /// [`target`](Self::target) says.
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
