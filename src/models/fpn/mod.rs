//! Feature pyramids for segmentation: a class for every pixel. The semantic branch of Panoptic FPN (Kirillov et al. 2019), and
//! VT-FPN (Wu et al. 2021), which has visual tokens in place of its pyramid's 3x3 convolutions.
//!
//! | part | FPN | VT-FPN |
//! |---|---|---|
//! | `backbone` | stages 2 to 5 of a ResNet, strides 4 to 32 | the same |
//! | `pyramid` | 1x1 laterals, top-down sum, 3x3 outputs | 1x1 laterals, tokens of every level, one transformer over all, projectors, top-down sum |
//! | `head` | 3x3, group norm and ReLU, each doubling the size, down to stride 4; sum; 1x1; 4 times larger | the same |
//!
//! Maps are resized to the next larger one's size, which is twice theirs where sizes are multiples of 32, and logits to the images':
//! any size works.
//!
//! **Absent here**: how a block of visual tokens works ([`mod@super::vt`]), losses and scores.

mod head;
mod laterals;
mod tokens;

pub use head::Head;
pub use tokens::TokenPyramid;

use serde::{Deserialize, Serialize};

use super::layers::refusal;
use super::resnet::{Block, Stage, Stem, Trunk};
use super::{Builder, Depth, IGNORED, Mode, Model, Network, Parameters, Target};
use crate::graph::{Graph, GraphError, Value};
use crate::ops::Argmax;

/// Backbone, pyramid, head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fpn {
    /// Its name.
    pub name: String,
    /// The backbone; every stage is a level of the pyramid.
    pub trunk: Trunk,
    /// What makes a level of every stage.
    pub pyramid: Pyramid,
    /// Channels of every level.
    pub channels: usize,
    /// What makes logits of the levels.
    pub head: Head,
    /// Number of classes.
    pub classes: usize,
}

/// What makes levels of a backbone's maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pyramid {
    /// 3x3 convolutions behind the top-down sums: Lin et al. 2017.
    Convolutions,
    /// Visual tokens in front of them.
    Tokens(Box<TokenPyramid>),
}

/// A network that is looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedFpn {
    /// `[N, H, W, classes]`.
    pub logits: Value,
    /// u32 `[N, H, W]`: the class that each pixel is taken for.
    pub classes: Value,
    /// Of each level, the largest first: `[N, heads, L, HW]`, how much each token takes from each pixel, in all 1; and height and width
    /// of the level's map. Empty if not asked for, and where there are no tokens.
    pub attention: Vec<(Value, [usize; 2])>,
}

/// The scopes of the three parts.
const PARTS: [&str; 3] = ["backbone", "pyramid", "head"];
/// Channels of a level (Detectron2).
const CHANNELS: usize = 256;

impl Fpn {
    /// FPN and VT-FPN on ResNet-50 and 101, and the two for scenes as small as the demo's.
    #[must_use]
    pub fn presets(classes: usize) -> Vec<Self> {
        let of = |depth| [Self::semantic(depth, classes), Self::visual_tokens(depth, classes)];
        let small = [Self::small(classes), Self::small_visual_tokens(classes)];
        [Depth::D50, Depth::D101].into_iter().flat_map(of).chain(small).collect()
    }

    /// `fpn-resnet50` and so on: Detectron2's semantic FPN, on a backbone with the stride in the first 1x1.
    #[must_use]
    pub fn semantic(depth: Depth, classes: usize) -> Self {
        Self::of("fpn", depth, Pyramid::Convolutions, classes)
    }

    /// `vt-fpn-resnet50` and so on: 8 tokens of 1024 channels a level, with the layers that have the paper's count.
    #[must_use]
    pub fn visual_tokens(depth: Depth, classes: usize) -> Self {
        let tokens = TokenPyramid::counted(vec![8; 4], 1024, CHANNELS, 16);
        Self::of("vt-fpn", depth, Pyramid::Tokens(Box::new(tokens)), classes)
    }

    /// `fpn-small`, for gray scenes of 96x96: three levels of 16 channels at strides 4, 8 and 16.
    #[must_use]
    pub fn small(classes: usize) -> Self {
        let stage = |channels, stride| Stage { channels, blocks: 1, stride };
        Self {
            name: "fpn-small".to_owned(),
            trunk: Trunk::new(
                Stem::Small { kernel: 3, channels: 8, stride: 2, pool: true },
                Block::Basic,
                vec![stage(16, 1), stage(32, 2), stage(64, 2)],
            ),
            pyramid: Pyramid::Convolutions,
            channels: 16,
            head: Head { channels: 16, groups: 4 },
            classes,
        }
    }

    /// `vt-fpn-small`: the same with 8 tokens of 64 channels a level in place of the pyramid's 3x3 convolutions. Where the large ones have
    /// groups of 16 channels, its 16 channels are one.
    #[must_use]
    pub fn small_visual_tokens(classes: usize) -> Self {
        let small = Self::small(classes);
        let tokens = TokenPyramid::counted(vec![8; small.trunk.stages.len()], 64, small.channels, 1);
        Self { name: "vt-fpn-small".to_owned(), pyramid: Pyramid::Tokens(Box::new(tokens)), ..small }
    }

    fn of(family: &str, depth: Depth, pyramid: Pyramid, classes: usize) -> Self {
        let (block, blocks) = depth.blocks();
        let block = if block == Block::Bottleneck { Block::BottleneckStrideFirst } else { block };
        Self {
            name: format!("{family}-resnet{}", depth.layers()),
            trunk: Trunk::imagenet(block, &blocks),
            pyramid,
            channels: CHANNELS,
            head: Head { channels: 128, groups: 32 },
            classes,
        }
    }

    /// The same with a pyramid of convolutions.
    #[must_use]
    pub fn with_convolutions(&self) -> Self {
        Self { pyramid: Pyramid::Convolutions, ..self.clone() }
    }

    /// Refuses what cannot be built, with what to do about it.
    fn check(&self) -> Result<(), GraphError> {
        let levels = self.trunk.stages.len();
        let problem = match &self.pyramid {
            _ if levels == 0 => "has no stage, and so no level: give the trunk one".to_owned(),
            _ if self.classes > IGNORED as usize => {
                format!("has {} classes, and label {IGNORED} is that of pixels without one: take fewer", self.classes)
            }
            Pyramid::Tokens(pyramid) if pyramid.tokens.len() != levels => {
                format!("has tokens of {} levels, and {levels} stages: one number of tokens each", pyramid.tokens.len())
            }
            _ => return Ok(()),
        };
        Err(refusal(&self.name, problem))
    }

    /// The network for evaluation; with where the tokens of every level look, if wanted.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn probed(
        &self,
        graph: &mut Graph,
        parameters: &mut Parameters,
        images: Value,
        wanted: bool,
    ) -> Result<ProbedFpn, GraphError> {
        let mut attention = Vec::new();
        let b = &mut Builder::new(graph, parameters, Mode::Evaluate);
        let logits = self.seen(b, images, wanted.then_some(&mut attention))?;
        let classes = b.graph.apply_one(Argmax, &[logits])?;
        Ok(ProbedFpn { logits, classes, attention })
    }

    fn seen(
        &self,
        b: &mut Builder<'_>,
        images: Value,
        wanted: Option<&mut Vec<(Value, [usize; 2])>>,
    ) -> Result<Value, GraphError> {
        self.check()?;
        let [_, height, width, _] = b.graph.tensor(images).shape.dims();
        let [backbone, pyramid, head] = PARTS;
        let maps = b.scoped(backbone, |b| self.trunk.build_maps(b, images))?;
        let levels = b.scoped(pyramid, |b| {
            let laterals = laterals::laterals(b, &maps[1..], self.channels)?;
            match &self.pyramid {
                Pyramid::Convolutions => {
                    let summed = laterals::top_down(b, laterals)?;
                    laterals::outputs(b, &summed, self.channels)
                }
                Pyramid::Tokens(pyramid) => {
                    let projected = pyramid.build(b, &laterals, wanted)?;
                    laterals::top_down(b, projected)
                }
            }
        })?;
        b.scoped(head, |b| self.head.build(b, &levels, ([height, width], self.classes)))
    }
}

impl Model for Fpn {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> String {
        Network::from(self.clone()).to_string()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn target(&self) -> Target {
        Target::Pixels
    }

    fn blocks(&self) -> Vec<String> {
        let [backbone, pyramid, _] = PARTS;
        let of_trunk = self.trunk.blocks().into_iter().map(|block| format!("{backbone}/{block}"));
        // What the norm behind a projector reads is as large as the level.
        let of_pyramid = match &self.pyramid {
            Pyramid::Convolutions => Vec::new(),
            Pyramid::Tokens(tokens) => tokens.blocks(),
        };
        of_trunk.chain(of_pyramid.into_iter().map(|block| format!("{pyramid}/{block}"))).collect()
    }

    fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError> {
        self.seen(b, images, None)
    }
}
