//! The systems that the paper compares with: what they put into the residual blocks of a ResNet, or in place of its convolutions.

mod adaptive;
mod augmented;
mod cbam;
mod local_relation;
mod squeeze;

pub use adaptive::Adaptive;
pub use augmented::Augmented;
pub use cbam::Cbam;
pub use local_relation::LocalRelationLayer;
pub use squeeze::SqueezeExcitation;

use serde::{Deserialize, Serialize};

use super::Builder;
use super::layers::{conv, refusal, relu, reshape};
use crate::graph::{GraphError, Value};
use crate::ops::{Add, Map, Resize, ResizeMode};

/// What a gate makes of what it is told: the slides' remark "ReLU vs. sigmoid: precision" is about this choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// Between 0 and 1, as all the papers have it.
    #[default]
    Sigmoid,
    /// 0 or more: no exponential, and no upper bound.
    Relu,
}

impl Nonlinearity {
    /// As an op's function.
    #[must_use]
    pub const fn map(self) -> Map {
        match self {
            Self::Sigmoid => Map::Sigmoid,
            Self::Relu => Map::Relu,
        }
    }
}

/// The first residual stage.
const FIRST: usize = 2;

/// What the residual blocks of a network have that ResNet's have not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Nothing.
    #[default]
    Plain,
    /// A gate for every channel, before the shortcut is added.
    SqueezeExcitation(SqueezeExcitation),
    /// A gate for every channel, then one for every pixel, before the shortcut is added.
    Cbam(Cbam),
    /// Local relations in place of 3x3 convolutions.
    LocalRelation(LocalRelationLayer),
    /// Attention of all pixels to all beside the 3x3 convolutions of all stages but the first.
    Augmented(Augmented),
    /// Behind each stage a block whose convolution is modulated at every pixel by the images.
    Adaptive(Adaptive),
}

impl Variant {
    /// Those that networks with a name have, each as its paper has it.
    #[must_use]
    pub fn presets() -> Vec<Self> {
        vec![
            Self::SqueezeExcitation(SqueezeExcitation::default()),
            Self::Cbam(Cbam::default()),
            Self::LocalRelation(LocalRelationLayer::default()),
            Self::Augmented(Augmented::default()),
            Self::Adaptive(Adaptive::default()),
        ]
    }

    /// What a network of this name is called with it: `resnet50-se`.
    #[must_use]
    pub fn named(&self, network: &str) -> String {
        match self {
            Self::Plain => network.to_owned(),
            Self::SqueezeExcitation(_) => format!("{network}-se"),
            Self::Cbam(_) => format!("{network}-cbam"),
            Self::LocalRelation(_) => format!("lr-{network}"),
            Self::Augmented(_) => format!("aa-{network}"),
            Self::Adaptive(_) => format!("sac-{network}"),
        }
    }

    /// What a network of this title is titled with it, in a table: `ResNet-50 + SE`.
    #[must_use]
    pub fn titled(&self, network: &str) -> String {
        match self {
            Self::Plain => network.to_owned(),
            Self::SqueezeExcitation(_) => format!("{network} + SE"),
            Self::Cbam(_) => format!("{network} + CBAM"),
            Self::LocalRelation(_) => format!("LR-{network}"),
            Self::Augmented(_) => format!("AA-{network}"),
            Self::Adaptive(_) => format!("SAC-{network}"),
        }
    }

    /// Nothing: what descriptions leave out.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Channels inside of a bottleneck of so many outside.
    pub(super) fn inside(&self, channels: usize) -> usize {
        match self {
            Self::LocalRelation(layer) => layer.inside(channels),
            _ => channels / 4,
        }
    }

    /// What stands for a convolution of a block of this stage, the stem being stage 1: x [N, H, W, C] → [N, H', W', channels].
    ///
    /// # Errors
    /// When the variant does not fit the channels.
    pub(super) fn conv(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        x: Value,
        layer: [usize; 3],
        stage: usize,
    ) -> Result<Value, GraphError> {
        let [kernel, channels, stride] = layer;
        match self {
            Self::LocalRelation(_) if kernel > 1 && b.shape(x)[3] != channels => {
                let problem = "local relations keep the number of channels: take bottlenecks";
                Err(refusal(name, problem))
            }
            Self::LocalRelation(layer) if kernel > 1 => local_relation::local_relation(b, name, x, layer, stride),
            Self::Augmented(augmented) if kernel > 1 && stage > FIRST => {
                augmented::augmented_conv(b, name, x, layer, augmented)
            }
            _ => conv(b, name, x, layer),
        }
    }

    /// What follows a stage: x [N, H, W, C], the images → [N, H, W, C].
    ///
    /// # Errors
    /// When the variant does not fit the channels.
    pub(super) fn behind(&self, b: &mut Builder<'_>, x: Value, images: Value) -> Result<Value, GraphError> {
        match self {
            Self::Adaptive(adaptive) => {
                let [_, height, width, _] = b.graph.tensor(x).shape.dims();
                let size = Resize { size: [height, width], mode: ResizeMode::Bilinear };
                let raw = b.graph.apply_one(size, &[images])?;
                adaptive::adaptive_block(b, x, raw, adaptive)
            }
            _ => Ok(x),
        }
    }

    /// The end of a residual block: y, shortcut [N, H, W, C] → relu(refined y + shortcut).
    ///
    /// # Errors
    /// When the variant does not fit the channels.
    pub(super) fn end(&self, b: &mut Builder<'_>, y: Value, shortcut: Value) -> Result<Value, GraphError> {
        let image = b.graph.tensor(y).shape.clone();
        let [n, height, width, channels] = image.dims();
        let rows = [n, height * width, channels];
        let refined = match self {
            Self::Plain | Self::LocalRelation(_) | Self::Augmented(_) | Self::Adaptive(_) => {
                let y = b.branch(y)?;
                let sum = b.graph.apply_one(Add, &[y, shortcut])?;
                return relu(b, sum);
            }
            Self::SqueezeExcitation(squeeze) => {
                let x = reshape(b, y, rows)?;
                b.scoped("se", |b| squeeze.refine(b, x))?
            }
            Self::Cbam(cbam) => {
                let x = reshape(b, y, rows)?;
                cbam.refine(b, x, [height, width])?
            }
        };
        // The shortcut is added in rows too, so that nothing stands between a gate and the sum that it takes in.
        let shortcut = reshape(b, shortcut, rows)?;
        let refined = b.branch(refined)?;
        let sum = b.graph.apply_one(Add, &[refined, shortcut])?;
        let y = relu(b, sum)?;
        reshape(b, y, image)
    }
}
