//! VT-ResNet (Wu et al. 2021, appendix A): a residual network whose last stage is visual transformers, and whose head
//! reads tokens.

use super::layers::{head, reshape};
use super::resnet::{Block, Stage, Stem, Trunk};
use super::vt::{Map, Vt, block};
use super::{Builder, Mode, Model, Parameters};
use crate::graph::{Graph, GraphError, Value};
use crate::ops::{MeanRows, Repeat};

/// Trunk, VT blocks, mean over tokens, linear head.
#[derive(Clone, Debug, PartialEq)]
pub struct VtResNet {
    /// Its name.
    pub name: &'static str,
    /// Stem and residual stages.
    pub trunk: Trunk,
    /// What every VT block is made of.
    pub vt: Vt,
    /// How many VT blocks; the first tokenizes by filters, the others by the tokens before, and the last does not
    /// project.
    pub blocks: usize,
    /// Number of classes.
    pub classes: usize,
}

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
    /// For each block `[N, heads, L, HW]`, if asked for: how much each token takes from each pixel, in all 1.
    pub attention: Vec<Value>,
    /// Height and width of the map that tokens look at.
    pub size: [usize; 2],
}

impl VtResNet {
    /// VT-ResNet-18 and 34, and the demo's.
    #[must_use]
    pub fn presets(classes: usize) -> Vec<Self> {
        vec![
            Self::imagenet("vt-resnet18", &[2, 2, 2], 2, classes),
            Self::imagenet("vt-resnet34", &[3, 4, 6], 3, classes),
            Self::demo(classes),
        ]
    }

    /// VT-C512-L16-CT1024 on residual stages of basic blocks.
    fn imagenet(name: &'static str, residual: &[usize], blocks: usize, classes: usize) -> Self {
        let trunk = Trunk::imagenet(Block::Basic, residual);
        Self { name, trunk, vt: Vt::counted(16, 1024, 512, 64), blocks, classes }
    }

    /// The demo's: gray 28x28 images, a residual block at 7x7 and two VT blocks of 8 tokens. 1.6 M multiply-adds an
    /// image, few and wide layers, so that it trains in minutes on a processor.
    #[must_use]
    pub fn demo(classes: usize) -> Self {
        let trunk = Trunk {
            stem: Stem::Small { kernel: 5, channels: 32, stride: 2, pool: true },
            block: Block::Basic,
            stages: vec![Stage { channels: 32, blocks: 1, stride: 1 }],
        };
        let vt = Vt { heads: 2, ..Vt::counted(8, 64, 32, 32) };
        Self { name: "vt-resnet-demo", trunk, vt, blocks: 2, classes }
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
        self.build(&mut Builder { graph, parameters, mode: Mode::Evaluate }, images, probe)
    }

    /// The scope of a VT block, counted from 1.
    fn scope(&self, block: usize) -> String {
        format!("stage{}/vt{block}", self.trunk.stages.len() + 2)
    }

    fn build(&self, b: &mut Builder<'_>, images: Value, probe: Probe) -> Result<Probed, GraphError> {
        let x = self.trunk.build(b, images)?;
        let [n, height, width, channels] = b.graph.tensor(x).shape.dims();
        let mut map = Map { pixels: reshape(b, x, [n, height * width, channels])?, tokens: None };
        let mut attention = Vec::new();
        for at in 1..=self.blocks {
            let wanted = probe.attention.then_some(&mut attention);
            let last = at == self.blocks;
            map = b.scoped(self.scope(at), |b| block(b, &self.vt, map, last, wanted))?;
        }
        let mut features = map.tokens.unwrap_or(map.pixels);
        if probe.mean_tokens {
            features = batch_mean(b, features)?;
        }
        let logits = head(b, features, self.classes)?;
        Ok(Probed { logits, attention, size: [height, width] })
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
        self.name
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn blocks(&self) -> Vec<String> {
        self.trunk.blocks().into_iter().chain((1..=self.blocks).map(|at| self.scope(at))).collect()
    }

    fn logits(
        &self,
        graph: &mut Graph,
        parameters: &mut Parameters,
        images: Value,
        mode: Mode,
    ) -> Result<Value, GraphError> {
        let b = &mut Builder { graph, parameters, mode };
        Ok(self.build(b, images, Probe::default())?.logits)
    }
}
