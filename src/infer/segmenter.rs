//! A network that segments, planned and loaded: the class of every pixel of an image.

use super::classifier::{InferError, Looks, Wanted, maps};
use crate::gpu::{Device, Executor, Homes, Pipelines};
use crate::graph::{Graph, Tensor};
use crate::models::{Model, Network, Parameters, Target};
use crate::plan::{Layout, Options, Plan};
use crate::train::weights::{Weights, declared};

/// A network that segments, planned and loaded.
pub struct Segmenter {
    executor: Executor,
    batch: usize,
    image: [usize; 3],
    levels: Vec<Level>,
}

/// A level that has tokens.
struct Level {
    heads: usize,
    tokens: usize,
    /// Height and width of its map.
    size: [usize; 2],
}

/// The classes of one image's pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// Height and width.
    pub size: [usize; 2],
    /// Row by row.
    pub classes: Vec<u32>,
    /// Where the tokens of each level look, the largest map first, if that was asked for.
    pub looks: Vec<Looks>,
}

const IMAGES: &str = "images";
const CLASSES: &str = "classes";

fn output(level: usize) -> String {
    format!("attention{level}")
}

impl Segmenter {
    /// Plans the network for batches of so many images of this height, width and channels, and loads its weights.
    ///
    /// # Errors
    /// When weights, network and images do not fit each other or the machine, the network does not segment, or tokens are asked of one
    /// without.
    pub fn new(
        (device, pipelines): (&Device, &Pipelines),
        (network, weights): (&Network, &Weights),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        let model = segments(network)?;
        // Before there is any memory: a wrong file is found out at once.
        let parameters = declared(model, image)?;
        weights.check(model.name(), &parameters)?;
        let (graph, levels) = graph(network, (batch, image), wanted)?;
        let layout = Layout::of(&[&graph], device.capabilities().offset_alignment)?;
        let homes = Homes::new(device, &layout)?;
        weights.load(&homes, model.name(), &parameters)?;
        Self::on((device, pipelines), (&graph, &homes), (batch, image), levels)
    }

    /// The same on homes that hold the weights already: those of a training run.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn sharing(
        (device, pipelines): (&Device, &Pipelines),
        (network, homes): (&Network, &Homes),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        segments(network)?;
        let (graph, levels) = graph(network, (batch, image), wanted)?;
        Self::on((device, pipelines), (&graph, homes), (batch, image), levels)
    }

    fn on(
        (device, pipelines): (&Device, &Pipelines),
        (graph, homes): (&Graph, &Homes),
        (batch, image): (usize, [usize; 3]),
        levels: Vec<Level>,
    ) -> Result<Self, InferError> {
        let plan = Plan::new(graph, homes.layout(), device.capabilities(), Options::default())?;
        Ok(Self { executor: Executor::new(device, pipelines, plan, homes)?, batch, image, levels })
    }

    /// The classes of the pixels of images, one after the other in `numbers` `[N, H, W, C]`, at most a batch.
    ///
    /// # Errors
    /// When there are more than a batch, or no whole number of images, or the machine fails.
    pub fn segment(&self, numbers: &[f32]) -> Result<Vec<Segmentation>, InferError> {
        let each: usize = self.image.iter().product();
        let count = numbers.len() / each;
        if count > self.batch || count * each != numbers.len() {
            return Err(InferError::Batch { numbers: numbers.len(), batch: self.batch, image: self.image });
        }
        let mut padded = numbers.to_vec();
        padded.resize(self.batch * each, 0.0);
        self.executor.write_f32(IMAGES, &padded)?;
        self.executor.run()?;
        let classes = self.executor.read_named_u32(CLASSES)?;
        let mut attention = Vec::with_capacity(self.levels.len());
        for (at, level) in self.levels.iter().enumerate() {
            attention.push((level, self.executor.read_named(&output(at))?));
        }
        let size = [self.image[0], self.image[1]];
        let looks = |image: usize, (level, weights): &(&Level, Vec<f32>)| {
            let Level { heads, tokens, size } = **level;
            let shape = [heads, tokens, size[0] * size[1]];
            let all = shape.iter().product::<usize>();
            Looks { size, blocks: vec![maps(&weights[image * all..(image + 1) * all], shape)] }
        };
        let images = classes.chunks_exact(size[0] * size[1]).take(count).enumerate();
        Ok(images
            .map(|(image, classes)| Segmentation {
                size,
                classes: classes.to_vec(),
                looks: attention.iter().map(|level| looks(image, level)).collect(),
            })
            .collect())
    }
}

/// The network as a model, if it segments.
fn segments(network: &Network) -> Result<&dyn Model, InferError> {
    let model = network.model();
    match model.target() {
        Target::Pixels => Ok(model),
        Target::Images => Err(InferError::NoSegments { model: model.name().to_owned() }),
    }
}

/// The graph of what is wanted, and the levels whose tokens it looks at.
fn graph(
    network: &Network,
    (batch, [height, width, channels]): (usize, [usize; 3]),
    wanted: Wanted,
) -> Result<(Graph, Vec<Level>), InferError> {
    let mut graph = Graph::new();
    let images = graph.input(IMAGES, Tensor::f32([batch, height, width, channels]));
    let parameters = &mut Parameters::new();
    let no_tokens = || InferError::NoTokens { model: network.model().name().to_owned() };
    let Network::Fpn(fpn) = network else { return Err(no_tokens()) };
    let probed = fpn.probed(&mut graph, parameters, images, wanted == Wanted::Tokens)?;
    if wanted == Wanted::Tokens && probed.attention.is_empty() {
        return Err(no_tokens());
    }
    graph.output(CLASSES, probed.classes);
    let mut levels = Vec::with_capacity(probed.attention.len());
    for (at, &(weights, size)) in probed.attention.iter().enumerate() {
        graph.output(output(at), weights);
        let [_, heads, tokens, _] = graph.tensor(weights).shape.dims();
        levels.push(Level { heads, tokens, size });
    }
    Ok((graph.fused()?.graph, levels))
}
