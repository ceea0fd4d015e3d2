//! VT-ResNet (Wu et al. 2021, appendix A): a residual network whose last stage is visual transformers, and whose head
//! reads tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::layers::{head, refusal, reshape};
use super::resnet::{Block, Stage, Stem, Trunk};
use super::vt::{Later, Makes, Map, Vt, block};
use super::{Builder, Depth, Mode, Model, Network, Parameters, ResNet};
use crate::graph::{Graph, GraphError, Value};
use crate::ops::{MeanRows, Repeat};

/// Trunk, VT blocks, mean over tokens, linear head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtResNet {
    /// Its name.
    pub name: String,
    /// Stem and residual stages.
    pub trunk: Trunk,
    /// What every VT block is made of.
    pub vt: Vt,
    /// How many VT blocks.
    pub blocks: usize,
    /// Which of them project their tokens back onto the map.
    pub projecting: Projecting,
    /// What the head reads.
    pub features: Features,
    /// Number of classes.
    pub classes: usize,
}

/// Which blocks project tokens back onto the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projecting {
    /// All but the last, of which the head reads the tokens.
    AllButLast,
    /// All: the head reads the map then ([`Features::Pixels`]).
    EveryBlock,
    /// None: tokens are drawn once, and go from transformer to transformer ([`Later::Kept`], table 7, "without").
    NoBlock,
}

impl Projecting {
    /// What the block of this number, from 1 on, makes.
    const fn makes(self, at: usize, blocks: usize) -> Makes {
        match self {
            Self::AllButLast if at == blocks => Makes::Tokens,
            Self::NoBlock => Makes::Tokens,
            Self::AllButLast | Self::EveryBlock => Makes::TokensAndPixels,
        }
    }
}

/// What the head takes the mean of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// The tokens of the last block.
    Tokens,
    /// The pixels that the last block projected onto.
    Pixels,
}

/// Which answer to what the sources leave open; [`mod@super::vt`] has a table of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// The layers whose counts are those of the paper's tables.
    #[default]
    Counted,
    /// The equations of 2021 to the letter: C = C_T = the channels of the map that comes in, 256, 256, 1024 and 1024.
    Iccv,
    /// The first version, of June 2020.
    Early,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Counted, Self::Iccv, Self::Early];
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counted => "counted",
            Self::Iccv => "iccv",
            Self::Early => "early",
        })
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|preset| preset.to_string()).join(", ");
        let found = Self::ALL.into_iter().find(|preset| preset.to_string() == text);
        found.ok_or_else(|| format!("no preset is called `{text}`; there are: {}", known()))
    }
}

/// Tokens of every block (appendix A).
const TOKENS: usize = 16;
/// Channels of a token (appendix A).
const TOKEN_CHANNELS: usize = 1024;
/// Channels of a group of a pixel map: the only number with which the paper's counts come out.
const GROUP: usize = 64;
/// Heads of the early appendix.
const HEADS: usize = 16;

/// What to look at, or to change, in a network that is being evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Also compute where each token looks.
    pub attention: bool,
    /// Give every image the mean over the batch of the last block's tokens: what the head then knows of the image
    /// did not come through them.
    pub mean_tokens: bool,
}

/// A network that is looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// `[N, classes]`.
    pub logits: Value,
    /// For each block that draws tokens by weights `[N, heads, L, HW]`, if asked for: how much each token takes from each pixel, in all 1.
    pub attention: Vec<Value>,
    /// Height and width of the map that tokens look at.
    pub size: [usize; 2],
}

impl VtResNet {
    /// VT-ResNet-18, 34, 50 and 101 in every preset, the demo's, and Fashion-MNIST's.
    #[must_use]
    pub fn presets(classes: usize) -> Vec<Self> {
        let of = |depth: Depth| Preset::ALL.map(|preset| Self::imagenet(depth, preset, classes));
        Depth::ALL.into_iter().flat_map(of).chain([Self::demo(classes), Self::fashion(classes)]).collect()
    }

    /// Appendix A: the residual stages 1 to 4 of a ResNet, whose 14x14 map (of 224x224 images) meets VT-C512-L16-CT1024
    /// blocks behind basic blocks and VT-C1024-L16-CT1024 behind bottlenecks, as many as stage 5 has blocks there.
    /// `vt-resnet18` and so on with [`Preset::Counted`], else with the preset behind it: `vt-resnet18-early`.
    #[must_use]
    pub fn imagenet(depth: Depth, preset: Preset, classes: usize) -> Self {
        let (block, [two, three, four, blocks]) = depth.blocks();
        let trunk = Trunk::imagenet(block, &[two, three, four]);
        let channels = match block {
            Block::Basic => 512,
            Block::Bottleneck | Block::BottleneckStrideFirst => 1024,
        };
        let vt = match preset {
            Preset::Iccv => Vt::iccv(TOKENS, trunk.channels()),
            Preset::Counted if channels == TOKEN_CHANNELS => Vt::counted_alike(TOKENS, channels, GROUP),
            Preset::Counted => Vt::counted(TOKENS, TOKEN_CHANNELS, channels, GROUP),
            Preset::Early => Vt::early(TOKENS, TOKEN_CHANNELS, channels, [HEADS, GROUP]),
        };
        let behind = if preset == Preset::Counted { String::new() } else { format!("-{preset}") };
        Self::of(format!("vt-resnet{}{behind}", depth.layers()), trunk, vt, blocks, classes)
    }

    /// The demo's: gray 28x28 images, a residual block at 7x7 and two VT blocks of 8 tokens. 1.6 M multiply-adds an
    /// image, few and wide layers, so that it trains in minutes on a processor.
    #[must_use]
    pub fn demo(classes: usize) -> Self {
        let trunk = Trunk::new(
            Stem::Small { kernel: 5, channels: 32, stride: 2, pool: true },
            Block::Basic,
            vec![Stage { channels: 32, blocks: 1, stride: 1 }],
        );
        Self::of("vt-resnet-demo", trunk, Vt::counted(8, 64, 32, 32).with_heads(2), 2, classes)
    }

    /// `vt-resnet-fashion`: [`ResNet::fashion`], with three VT blocks of 16 tokens on its 14x14 map in place of its last stage, and token
    /// channels with which the multiply-adds are the same: 123.8 M an image. The head reads the map: garments are told apart by where
    /// things are in them, and tokens know of no place (93.1 % of Fashion-MNIST's test images by the tokens, 94.5 by the map).
    #[must_use]
    pub fn fashion(classes: usize) -> Self {
        let mut trunk = ResNet::fashion(classes).trunk;
        let last = trunk.stages.pop().map_or(0, |stage| stage.channels);
        let by_tokens = Self::of("vt-resnet-fashion", trunk, Vt::counted(TOKENS, 352, last, GROUP), 3, classes);
        Self { projecting: Projecting::EveryBlock, features: Features::Pixels, ..by_tokens }
    }

    /// A network whose last block does not project and whose head reads tokens.
    #[must_use]
    pub fn of(name: impl Into<String>, trunk: Trunk, vt: Vt, blocks: usize, classes: usize) -> Self {
        let (projecting, features) = (Projecting::AllButLast, Features::Tokens);
        Self { name: name.into(), trunk, vt, blocks, projecting, features, classes }
    }

    /// Refuses what would leave a layer without a reader, with what to do about it.
    fn check(&self) -> Result<(), GraphError> {
        let Self { projecting, features, blocks, .. } = self;
        let problem = match (projecting, features, self.vt.tokenizer.later) {
            _ if *blocks == 0 => "has no VT block: take at least one, or a ResNet",
            _ if self.vt.tokens == 0 => "has no tokens: take at least one",
            (Projecting::EveryBlock, Features::Tokens, _) => {
                "nobody reads the pixels that the last block projects onto: take Projecting::AllButLast, or \
                 Features::Pixels"
            }
            (Projecting::AllButLast | Projecting::NoBlock, Features::Pixels, _) => {
                "the pixels that the head reads know nothing of the last block's tokens: take Projecting::EveryBlock, or \
                 Features::Tokens"
            }
            (Projecting::AllButLast | Projecting::EveryBlock, _, Later::Kept) if *blocks > 1 => {
                "no block reads the pixels that are projected onto, as tokens are kept: take Projecting::NoBlock, or \
                 Later::Recurrent"
            }
            (Projecting::NoBlock, _, Later::Anew) if *blocks > 1 => {
                "blocks that draw tokens anew, from a map that no block projects onto, forget the blocks before: take \
                 Projecting::AllButLast, or Later::Kept"
            }
            _ => return Ok(()),
        };
        Err(refusal(&self.name, problem))
    }

    /// The network for evaluation, with what `probe` asks for.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn probed(
        &self,
        graph: &mut Graph,
        parameters: &mut Parameters,
        images: Value,
        probe: Probe,
    ) -> Result<Probed, GraphError> {
        self.seen(&mut Builder::new(graph, parameters, Mode::Evaluate), images, probe)
    }

    /// The scope of a VT block, counted from 1.
    fn scope(&self, block: usize) -> String {
        format!("stage{}/vt{block}", self.trunk.stages.len() + 2)
    }

    fn seen(&self, b: &mut Builder<'_>, images: Value, probe: Probe) -> Result<Probed, GraphError> {
        self.check()?;
        let maps = self.trunk.build_before(b, images, self.blocks)?;
        let (x, before) = (maps[maps.len() - 1], self.trunk.residual_blocks());
        let [n, height, width, channels] = b.graph.tensor(x).shape.dims();
        let (size, pixels) = ([height, width], reshape(b, x, [n, height * width, channels])?);
        let mut map = Map { pixels, size, tokens: None };
        let mut attention = Vec::new();
        for at in 1..=self.blocks {
            let wanted = probe.attention.then_some(&mut attention);
            let makes = self.projecting.makes(at, self.blocks);
            let place = [before + at, before + self.blocks];
            map = b.residual(self.scope(at), place, |b| block(b, &self.vt, map, makes, wanted))?;
        }
        let mut features = match self.features {
            Features::Tokens => map.tokens.unwrap_or(map.pixels),
            Features::Pixels => map.pixels,
        };
        if probe.mean_tokens {
            features = batch_mean(b, features)?;
        }
        let logits = head(b, features, self.classes)?;
        Ok(Probed { logits, attention, size })
    }
}

/// The mean over the batch in place of each image's own: `[N, L, C]` → the same, all images equal.
fn batch_mean(b: &mut Builder<'_>, tokens: Value) -> Result<Value, GraphError> {
    let [n, rows, channels] = b.graph.tensor(tokens).shape.dims();
    let flat = reshape(b, tokens, [1, n, rows * channels])?;
    let mean = b.graph.apply_one(MeanRows, &[flat])?;
    let mean = reshape(b, mean, [1, rows, channels])?;
    b.graph.apply_one(Repeat { times: n }, &[mean])
}

impl Model for VtResNet {
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
        self.trunk.blocks().into_iter().chain((1..=self.blocks).map(|at| self.scope(at))).collect()
    }

    fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError> {
        Ok(self.seen(b, images, Probe::default())?.logits)
    }
}
