//! Where a model is built: the graph, the parameters, and whether it will train.

use std::fmt::Debug;

use super::Parameters;
use crate::graph::{Graph, GraphError, Shape, Tensor, Value};
use crate::kernel::Elem;
use crate::ops::{Dropout, StochasticDepth};

/// What a graph is for. Both kinds of one model have the same parameters under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm uses the batch's statistics and moves the running averages.
    Train,
    /// Batch norm uses the running averages.
    Evaluate,
}

/// What keeps a network from learning its images by heart. Options of training and of no model: evaluation knows none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularization {
    /// Stochastic depth (Huang et al. 2016): the share of images for which the last of L residual blocks is computed, above 0 and at most 1.
    /// Block l is for p_l = 1 - l / L (1 - p_L) of them, and what it adds is divided by p_l there.
    pub depth: Option<f64>,
    /// Dropout (Srivastava et al. 2014): the share of features that are dropped before the last linear layer, from 0 and below 1.
    pub dropout: Option<f64>,
}

/// The input of what decides which features are dropped: u32 `[4]`, 16 bits each.
pub const DROPOUT: &str = "dropout";
/// The input that says which images skip which residual block: f32 `[N, L]`, 0 or 1 / p.
pub const SURVIVAL: &str = "survival";

/// A graph under construction, with what its layers need.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The model's parameters.
    pub parameters: &'a mut Parameters,
    /// What the graph is for.
    pub mode: Mode,
    /// What the network is regularized by, where it trains.
    regularization: Regularization,
    /// The residual block that is being built, from 1, and how many there are.
    block: Option<[usize; 2]>,
}

impl<'a> Builder<'a> {
    /// A network of such a kind, regularized by nothing.
    pub fn new(graph: &'a mut Graph, parameters: &'a mut Parameters, mode: Mode) -> Self {
        Self { graph, parameters, mode, regularization: Regularization::default(), block: None }
    }

    /// It with this, which a network that evaluates is built without all the same.
    #[must_use]
    pub fn regularized(self, regularization: Regularization) -> Self {
        Self { regularization, ..self }
    }

    /// Builds a part under a name; its nodes and parameters carry the name.
    pub fn scoped<T>(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Builder<'_>) -> T) -> T {
        let Self { mode, regularization, block, .. } = *self;
        let parameters = &mut *self.parameters;
        self.graph.scoped(name, |graph| build(&mut Builder { graph, parameters, mode, regularization, block }))
    }

    /// [`scoped`](Self::scoped) for a block that stochastic depth may skip: residual block `at` of so many, counted from 1 over the
    /// whole network.
    pub fn residual<T>(
        &mut self,
        name: impl Into<String>,
        [at, blocks]: [usize; 2],
        build: impl FnOnce(&mut Builder<'_>) -> T,
    ) -> T {
        self.scoped(name, |b| {
            b.block = Some([at, blocks]);
            build(b)
        })
    }

    /// What a block adds to what it was given, [N, ..]; with stochastic depth, of each image times 1 / p or 0. All branches of one block
    /// are skipped together.
    ///
    /// # Errors
    /// When the branch has no axis of images.
    pub fn branch(&mut self, branch: Value) -> Result<Value, GraphError> {
        let (Mode::Train, Some([at, blocks]), Some(_)) = (self.mode, self.block, self.regularization.depth) else {
            return Ok(branch);
        };
        let images = self.shape(branch).first().copied().unwrap_or(0);
        let survival = match self.graph.find_input(SURVIVAL) {
            Some(survival) => survival,
            None => self.graph.input(SURVIVAL, Tensor::f32([images, blocks])),
        };
        self.graph.apply_one(StochasticDepth::new(at.saturating_sub(1)), &[branch, survival])
    }

    /// What the last linear layer reads: with dropout, features of which some are dropped.
    ///
    /// # Errors
    /// When the share is none, or a network has two last layers.
    pub fn features(&mut self, features: Value) -> Result<Value, GraphError> {
        let (Mode::Train, Some(share)) = (self.mode, self.regularization.dropout) else { return Ok(features) };
        if self.graph.find_input(DROPOUT).is_some() {
            // Elements of the same number would be dropped in both.
            return Err(GraphError::Name("only one layer can be the last, with dropout before it".to_owned()));
        }
        let seed = self.graph.input(DROPOUT, Tensor::new([Dropout::SEED], Elem::U32));
        self.graph.apply_one(Dropout { share }, &[features, seed])
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
    fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError>;

    /// [`build`](Self::build), regularized by nothing.
    ///
    /// # Errors
    /// When the images do not fit the network.
    fn logits(
        &self,
        graph: &mut Graph,
        parameters: &mut Parameters,
        images: Value,
        mode: Mode,
    ) -> Result<Value, GraphError> {
        self.build(&mut Builder::new(graph, parameters, mode), images)
    }
}
