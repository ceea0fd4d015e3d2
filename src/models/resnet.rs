//! Residual networks (He et al. 2016): ResNet-18, 34, 50, 101, with the stride of a bottleneck in its 3x3 convolution.

use serde::{Deserialize, Serialize};

use super::layers::{conv, head, norm, relu, reshape};
use super::related::Variant;
use super::{Builder, Model, Network};
use crate::graph::{GraphError, Value};
use crate::ops::MaxPool;

/// The depths of ImageNet's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// 18 layers, of basic blocks.
    D18,
    /// 34 layers, of basic blocks.
    D34,
    /// 50 layers, of bottlenecks.
    D50,
    /// 101 layers, of bottlenecks.
    D101,
}

impl Depth {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::D18, Self::D34, Self::D50, Self::D101];

    /// The kind of its blocks, and how many stages 2 to 5 have.
    #[must_use]
    pub const fn blocks(self) -> (Block, [usize; 4]) {
        match self {
            Self::D18 => (Block::Basic, [2, 2, 2, 2]),
            Self::D34 => (Block::Basic, [3, 4, 6, 3]),
            Self::D50 => (Block::Bottleneck, [3, 4, 6, 3]),
            Self::D101 => (Block::Bottleneck, [3, 4, 23, 3]),
        }
    }

    /// How many layers.
    #[must_use]
    pub const fn layers(self) -> usize {
        match self {
            Self::D18 => 18,
            Self::D34 => 34,
            Self::D50 => 50,
            Self::D101 => 101,
        }
    }
}

/// The first layers, before the residual stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stem {
    /// A 7x7 convolution with stride 2 and 64 channels, then 3x3 max pooling with stride 2: a quarter of the size.
    Large,
    /// A convolution for small images.
    Small {
        /// Its height and width.
        kernel: usize,
        /// Its channels.
        channels: usize,
        /// Its stride.
        stride: usize,
        /// Whether 3x3 max pooling with stride 2 follows.
        pool: bool,
    },
}

impl Stem {
    /// That of the networks for Fashion-MNIST: as many pixels leave it as there were.
    pub(super) const FASHION: Self = Self::Small { kernel: 3, channels: 32, stride: 1, pool: false };
}

/// The channels of [`Stem::Large`].
const LARGE: usize = 64;
/// The scope of the first layers.
const STEM: &str = "stem";

/// What a residual block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1 to a quarter of the channels, 3x3, 1x1 back; the stride is that of the 3x3.
    Bottleneck,
    /// The same with the stride in the first 1x1, as it was published first and as Detectron2's backbones have it.
    BottleneckStrideFirst,
}

/// Blocks of one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Channels of its output.
    pub channels: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Stride of the first.
    pub stride: usize,
}

/// The convolutional part: stem and residual stages. Stages are counted from 2, the stem being stage 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// The stem.
    pub stem: Stem,
    /// The kind of all blocks.
    pub block: Block,
    /// The stages.
    pub stages: Vec<Stage>,
    /// What their blocks have besides.
    #[serde(default, skip_serializing_if = "Variant::is_plain")]
    pub variant: Variant,
}

impl Trunk {
    /// A plain one.
    #[must_use]
    pub const fn new(stem: Stem, block: Block, stages: Vec<Stage>) -> Self {
        Self { stem, block, stages, variant: Variant::Plain }
    }

    /// The trunk of an ImageNet network with this many blocks in stages 2, 3, …
    #[must_use]
    pub fn imagenet(block: Block, blocks: &[usize]) -> Self {
        let widest = if block == Block::Basic { 64 } else { 256 };
        let stage = |(at, &blocks): (usize, &usize)| Stage {
            channels: widest << at,
            blocks,
            stride: if at == 0 { 1 } else { 2 },
        };
        let stages = blocks.iter().enumerate().map(stage).collect();
        Self::new(Stem::Large, block, stages)
    }

    /// Channels of the map that it makes.
    #[must_use]
    pub fn channels(&self) -> usize {
        let stem = match self.stem {
            Stem::Large => LARGE,
            Stem::Small { channels, .. } => channels,
        };
        self.stages.last().map_or(stem, |stage| stage.channels)
    }

    /// Adds stem and stages: images `[N, H, W, C]` → `[N, H', W', C']`.
    ///
    /// # Errors
    /// When the images do not fit.
    pub fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError> {
        let maps = self.build_maps(b, images)?;
        Ok(maps[maps.len() - 1])
    }

    /// The same, with what the stem makes and every stage: images `[N, H, W, C]` → `[N, H', W', C']`, the largest map first.
    ///
    /// # Errors
    /// When the images do not fit.
    pub fn build_maps(&self, b: &mut Builder<'_>, images: Value) -> Result<Vec<Value>, GraphError> {
        self.build_before(b, images, 0)
    }

    /// The same in front of so many residual blocks of another kind, which stochastic depth counts, too.
    pub(super) fn build_before(
        &self,
        b: &mut Builder<'_>,
        images: Value,
        more: usize,
    ) -> Result<Vec<Value>, GraphError> {
        let mut x = b.scoped(STEM, |b| stem(b, images, self.stem))?;
        let (mut maps, mut built, blocks) = (vec![x], 0, self.residual_blocks() + more);
        for (at, stage) in (2..).zip(&self.stages) {
            for block in 1..=stage.blocks {
                let stride = if block == 1 { stage.stride } else { 1 };
                built += 1;
                let build = |b: &mut Builder<'_>| self.residual(b, x, [stage.channels, stride], at);
                x = b.residual(scope(at, block), [built, blocks], build)?;
            }
            built += usize::from(self.adapts());
            x = b.residual(behind(at), [built, blocks], |b| self.variant.behind(b, x, images))?;
            maps.push(x);
        }
        Ok(maps)
    }

    /// How many residual blocks it has.
    pub(super) fn residual_blocks(&self) -> usize {
        self.blocks().len() - 1 // the stem is none
    }

    /// Whether another block follows every stage.
    fn adapts(&self) -> bool {
        matches!(self.variant, Variant::Adaptive(_))
    }

    /// y = relu(F(x) + shortcut(x)); the shortcut is x itself where the shape stays, else a 1x1 convolution.
    fn residual(
        &self,
        b: &mut Builder<'_>,
        x: Value,
        [channels, stride]: [usize; 2],
        stage: usize,
    ) -> Result<Value, GraphError> {
        let inside = self.variant.inside(channels);
        let layers: &[[usize; 3]] = match self.block {
            Block::Basic => &[[3, channels, stride], [3, channels, 1]],
            Block::Bottleneck => &[[1, inside, 1], [3, inside, stride], [1, channels, 1]],
            Block::BottleneckStrideFirst => &[[1, inside, stride], [3, inside, 1], [1, channels, 1]],
        };
        let mut y = x;
        for (at, &layer) in (1..).zip(layers) {
            y = self.variant.conv(b, &format!("conv{at}"), y, layer, stage)?;
            y = norm(b, &format!("norm{at}"), y)?;
            if at < layers.len() {
                y = relu(b, y)?;
            }
        }
        let shortcut = match stride == 1 && b.shape(x).last() == Some(&channels) {
            true => x,
            false => b.scoped("shortcut", |b| {
                let x = conv(b, "conv", x, [1, channels, stride])?;
                norm(b, "norm", x)
            })?,
        };
        self.variant.end(b, y, shortcut)
    }

    /// The scopes of stem and residual blocks.
    #[must_use]
    pub fn blocks(&self) -> Vec<String> {
        let adapts = self.adapts();
        let residual = (2..)
            .zip(&self.stages)
            .flat_map(|(at, stage)| (1..=stage.blocks).map(move |of| scope(at, of)).chain(adapts.then(|| behind(at))));
        [STEM.to_owned()].into_iter().chain(residual).collect()
    }
}

/// The scope of what a variant puts behind a stage.
fn behind(stage: usize) -> String {
    format!("stage{stage}/adaptive")
}

fn scope(stage: usize, block: usize) -> String {
    format!("stage{stage}/block{block}")
}

fn stem(b: &mut Builder<'_>, images: Value, stem: Stem) -> Result<Value, GraphError> {
    let (convolution, pool) = match stem {
        Stem::Large => ([7, LARGE, 2], true),
        Stem::Small { kernel, channels, stride, pool } => ([kernel, channels, stride], pool),
    };
    let x = conv(b, "conv", images, convolution)?;
    let x = norm(b, "norm", x)?;
    let x = relu(b, x)?;
    match pool {
        true => Ok(b.graph.apply(MaxPool { kernel: [3; 2], stride: [2; 2], padding: [1; 2] }, &[x])?[0]),
        false => Ok(x),
    }
}

/// A residual network with mean over pixels and a linear head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet {
    /// Its name.
    pub name: String,
    /// Stem and stages.
    pub trunk: Trunk,
    /// Number of classes.
    pub classes: usize,
}

impl ResNet {
    /// ResNet-18, 34, 50 and 101, and one for images as small as the demo's; then each of them in every variant that it has; and
    /// Fashion-MNIST's.
    #[must_use]
    pub fn presets(classes: usize) -> Vec<Self> {
        let plain: Vec<Self> =
            Depth::ALL.map(|depth| Self::imagenet(depth, classes)).into_iter().chain([Self::small(classes)]).collect();
        let varied = Variant::presets().into_iter().flat_map(|variant| match variant {
            Variant::LocalRelation(_) => {
                let small = Self::small(classes).of_bottlenecks();
                let deep = [Depth::D50, Depth::D101].map(|depth| Self::imagenet(depth, classes));
                [Self::bottlenecks26(classes)]
                    .into_iter()
                    .chain(deep)
                    .chain([small])
                    .map(|network| network.varied(variant.clone()))
                    .collect()
            }
            // Nine times as many channels as a bottleneck's output has would be more weights than all the rest.
            Variant::Adaptive(_) => {
                let narrow = [Self::imagenet(Depth::D18, classes), Self::small(classes)];
                narrow.map(|network| network.varied(variant.clone())).into()
            }
            _ => plain.iter().map(|network| network.clone().varied(variant.clone())).collect::<Vec<_>>(),
        });
        plain.iter().cloned().chain(varied).chain([Self::fashion(classes)]).collect()
    }

    /// ResNet-26: the blocks of ResNet-18 as bottlenecks, which is what the least of the LR-Nets is made of.
    pub(super) fn bottlenecks26(classes: usize) -> Self {
        Self { name: "resnet26".to_owned(), trunk: Trunk::imagenet(Block::Bottleneck, &[2; 4]), classes }
    }

    /// The same stages of bottlenecks, with twice the channels outside.
    fn of_bottlenecks(mut self) -> Self {
        self.trunk.block = Block::Bottleneck;
        self.trunk.stages.iter_mut().for_each(|stage| stage.channels *= 2);
        self
    }

    /// The same network with this in its blocks.
    #[must_use]
    pub fn varied(mut self, variant: Variant) -> Self {
        self.name = variant.named(&self.name);
        self.trunk.variant = variant;
        self
    }

    /// ImageNet's, `resnet18` and so on: multiply-adds and parameters are torchvision's, and the paper's.
    #[must_use]
    pub fn imagenet(depth: Depth, classes: usize) -> Self {
        let (block, blocks) = depth.blocks();
        Self { name: format!("resnet{}", depth.layers()), trunk: Trunk::imagenet(block, &blocks), classes }
    }

    /// `resnet-small`, for images as small as the demo's.
    #[must_use]
    pub fn small(classes: usize) -> Self {
        let trunk = Trunk::new(
            Stem::Small { kernel: 3, channels: 16, stride: 2, pool: false },
            Block::Basic,
            vec![Stage { channels: 16, blocks: 1, stride: 1 }, Stage { channels: 32, blocks: 1, stride: 2 }],
        );
        Self { name: "resnet-small".to_owned(), trunk, classes }
    }

    /// `resnet-fashion`, for gray images of 28x28: three blocks each at 28x28, 14x14 and 7x7, with 32, 64 and 128 channels. Twice as wide
    /// as He's of 20 layers for CIFAR-10; 123.9 M multiply-adds an image.
    #[must_use]
    pub fn fashion(classes: usize) -> Self {
        let stages =
            [32, 64, 128].map(|channels| Stage { channels, blocks: 3, stride: if channels == 32 { 1 } else { 2 } });
        Self {
            name: "resnet-fashion".to_owned(),
            trunk: Trunk::new(Stem::FASHION, Block::Basic, stages.into()),
            classes,
        }
    }
}

impl Model for ResNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> String {
        Network::from(self.clone()).to_string()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn blocks(&self) -> Vec<String> {
        self.trunk.blocks()
    }

    fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError> {
        let x = self.trunk.build(b, images)?;
        let [n, h, w, channels] = b.graph.tensor(x).shape.dims();
        let pixels = reshape(b, x, [n, h * w, channels])?;
        head(b, pixels, self.classes)
    }
}
