//! Layers that models share: convolution, normalization, pointwise maps, the head.

use serde::{Deserialize, Serialize};

use super::{Builder, Init, Mode};
use crate::graph::{GraphError, Shape, Tensor, Value};
use crate::ops::{BatchNormFixed, BatchNormTrain, Conv2d, Fill, GroupNorm, LayerNorm, Map, MeanRows, Reshape};

/// What is added to variances, as in PyTorch.
const EPS: f64 = 1e-5;
/// The weight of a new batch in the running averages, as in PyTorch.
const MOMENTUM: f64 = 0.1;

/// A convolution without bias: x `[N, H, W, C]` → `[N, H', W', channels]`, padded so that stride 1 keeps the size.
///
/// # Errors
/// When x is no image.
pub fn conv(
    b: &mut Builder<'_>,
    name: &str,
    x: Value,
    [kernel, channels, stride]: [usize; 3],
) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(x).clone();
    let from = tensor.shape.last().copied().unwrap_or(0);
    b.scoped(name, |b| {
        let init = Init::He { fan_out: kernel * kernel * channels };
        let shape = tensor.shaped([kernel, kernel, from, channels]);
        let weight = b.parameters.weight(b.graph, "weight", shape, init)?;
        b.graph.apply_one(Conv2d::new(stride, kernel / 2), &[x, weight])
    })
}

/// A 1x1 convolution without bias, for maps behind which no ReLU follows: x `[N, H, W, C]` → `[N, H', W', channels]`.
///
/// # Errors
/// When x is no image.
pub fn pointwise(
    b: &mut Builder<'_>,
    name: &str,
    x: Value,
    [channels, stride]: [usize; 2],
) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(x).clone();
    let from = tensor.shape.last().copied().unwrap_or(0);
    b.scoped(name, |b| {
        let init = Init::Xavier { fan_in: from, fan_out: channels };
        let weight = b.parameters.weight(b.graph, "weight", tensor.shaped([1, 1, from, channels]), init)?;
        b.graph.apply_one(Conv2d::new(stride, 0), &[x, weight])
    })
}

/// A convolution with a bias, for maps behind which no norm and no ReLU follows: x `[N, H, W, C]` → `[N, H, W, channels]`.
///
/// # Errors
/// When x is no image.
pub fn conv_bias(
    b: &mut Builder<'_>,
    name: &str,
    x: Value,
    [kernel, channels]: [usize; 2],
) -> Result<Value, GraphError> {
    b.scoped(name, |b| linear(b, x, [kernel, channels]))
}

/// A convolution of stride 1 with a bias, in the present scope.
fn linear(b: &mut Builder<'_>, x: Value, [kernel, channels]: [usize; 2]) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(x).clone();
    let from = tensor.shape.last().copied().unwrap_or(0);
    let area = kernel * kernel;
    let init = Init::Xavier { fan_in: area * from, fan_out: area * channels };
    let weight = b.parameters.weight(b.graph, "weight", tensor.shaped([kernel, kernel, from, channels]), init)?;
    let bias = b.parameters.bias(b.graph, "bias", channels)?;
    b.graph.apply_one(Conv2d::new(1, kernel / 2), &[x, weight, bias])
}

/// Group norm: x `[N, .., C]` → `[N, .., C]`, every image by itself, its channels in so many groups.
///
/// # Errors
/// When the groups do not divide the channels.
pub fn group_norm(b: &mut Builder<'_>, name: &str, x: Value, groups: usize) -> Result<Value, GraphError> {
    let channels = b.shape(x).last().copied().unwrap_or(0);
    b.scoped(name, |b| {
        let [gain, bias] = b.parameters.affine(b.graph, channels)?;
        Ok(b.graph.apply(GroupNorm { groups, eps: EPS, relu: false }, &[x, gain, bias])?[0])
    })
}

/// Batch norm over all axes but the last: x `[.., C]` → `[.., C]`.
///
/// # Errors
/// When x is a single number.
pub fn norm(b: &mut Builder<'_>, name: &str, x: Value) -> Result<Value, GraphError> {
    let channels = b.shape(x).last().copied().unwrap_or(0);
    b.scoped(name, |b| {
        let [gain, bias, mean, variance] = b.parameters.normalization(b.graph, channels)?;
        let inputs = [x, gain, bias, mean, variance];
        match b.mode {
            Mode::Train => Ok(b.graph.apply(BatchNormTrain { eps: EPS, momentum: MOMENTUM, relu: false }, &inputs)?[0]),
            Mode::Evaluate => b.graph.apply_one(BatchNormFixed::new(EPS), &inputs),
        }
    })
}

/// What the changes that a block makes are normalized by, before they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Nothing, as in the equations.
    None,
    /// Each channel over the batch and all pixels or tokens: batch normalization, the paper's ("synchronized").
    Batch,
    /// Each pixel or token by itself over its channels: layer normalization. No version of the paper has it; ViT does.
    Layer,
}

impl Norm {
    /// x `[.., C]` → `[.., C]`, normalized; x itself without a norm.
    ///
    /// # Errors
    /// When x is a single number.
    pub fn apply(self, b: &mut Builder<'_>, name: &str, x: Value) -> Result<Value, GraphError> {
        match self {
            Self::None => Ok(x),
            Self::Batch => norm(b, name, x),
            Self::Layer => b.scoped(name, |b| {
                let channels = b.shape(x).last().copied().unwrap_or(0);
                let [gain, bias] = b.parameters.affine(b.graph, channels)?;
                Ok(b.graph.apply(LayerNorm { eps: EPS }, &[x, gain, bias])?[0])
            }),
        }
    }
}

/// factor x.
///
/// # Errors
/// When x is a single number, or of whole ones.
pub fn scaled(b: &mut Builder<'_>, x: Value, factor: f64) -> Result<Value, GraphError> {
    // A norm with nothing to take away and nothing to divide by is how the ops that there are multiply by a constant.
    let channels = Tensor::f32([b.shape(x).last().copied().unwrap_or(0)]);
    let mut constant = |value: f64| b.graph.apply_one(Fill { value, tensor: channels.clone() }, &[]);
    let [gain, zero, one] = [constant(factor)?, constant(0.0)?, constant(1.0)?];
    b.graph.apply_one(BatchNormFixed::new(0.0), &[x, gain, zero, zero, one])
}

/// max(x, 0).
///
/// # Errors
/// None that a value of the graph could cause.
pub fn relu(b: &mut Builder<'_>, x: Value) -> Result<Value, GraphError> {
    b.graph.apply_one(Map::Relu, &[x])
}

/// x in another shape.
///
/// # Errors
/// When the shape holds another number of elements.
pub fn reshape(b: &mut Builder<'_>, x: Value, shape: impl Into<Shape>) -> Result<Value, GraphError> {
    b.graph.apply_one(Reshape { shape: shape.into() }, &[x])
}

/// A map of the channels alone, y = x W: one and the same for every pixel or token, a 1x1 convolution without bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pointwise {
    /// x itself.
    Identity,
    /// Every channel from every channel.
    Dense,
    /// In this many groups of channels, each by itself.
    Groups(usize),
    /// In groups of this many output channels, as many groups as that makes and at least one.
    GroupsOf(usize),
}

impl Pointwise {
    /// x `[N, R, C]` → `[N, R, channels]`, without bias.
    ///
    /// # Errors
    /// When groups do not divide the channels, or identity would have to change their number.
    pub fn apply(self, b: &mut Builder<'_>, name: &str, x: Value, channels: usize) -> Result<Value, GraphError> {
        let tensor = b.graph.tensor(x).clone();
        let &[_, _, from] = &tensor.shape[..] else {
            return Err(refusal(name, format!("takes [N, rows, channels], not {}", tensor.shape)));
        };
        let groups = match self {
            Self::Identity if from == channels => return Ok(x),
            Self::Identity => return Err(refusal(name, format!("identity cannot make {channels} channels of {from}"))),
            Self::Dense => 1,
            Self::Groups(groups) => groups,
            Self::GroupsOf(each) => (channels / each.max(1)).max(1),
        };
        if groups == 0 {
            return Err(refusal(name, "0 groups hold no channels; 1 is dense".to_owned()));
        }
        let init = Init::Xavier { fan_in: from / groups, fan_out: channels / groups };
        b.scoped(name, |b| {
            let kernel = [1, 1, from / groups, channels];
            let shape = if groups == 1 { &kernel[2..] } else { &kernel[..] };
            let weight = b.parameters.weight(b.graph, "weight", tensor.shaped(shape), init)?;
            b.graph.apply_one(Conv2d::new(1, 0).groups(groups), &[x, weight])
        })
    }
}

/// The mean over rows (pixels, tokens), then a linear classifier: x `[N, R, C]` → logits `[N, classes]`.
///
/// # Errors
/// When x has another rank.
pub fn head(b: &mut Builder<'_>, x: Value, classes: usize) -> Result<Value, GraphError> {
    b.scoped("head", |b| {
        let mean = b.graph.apply_one(MeanRows, &[x])?;
        let mean = b.features(mean)?;
        let [n, channels] = b.graph.tensor(mean).shape.dims();
        // A 1x1 convolution, because that op adds the bias on its way out.
        let image = reshape(b, mean, [n, 1, 1, channels])?;
        let logits = linear(b, image, [1, classes])?;
        reshape(b, logits, [n, classes])
    })
}

/// What is said of a layer that cannot be built so.
pub(super) fn refusal(layer: &str, problem: impl Into<String>) -> GraphError {
    GraphError::Layer { layer: layer.to_owned(), problem: problem.into() }
}
