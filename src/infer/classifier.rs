//! A network on a machine, ready to be shown pictures.

use crate::gpu::{self, Device, Executor, Homes, Pipelines};
use crate::graph::{Graph, GraphError, Tensor, Value};
use crate::models::{Mode, Network, Parameters, Probe, Probed, Target};
use crate::plan::{Layout, Options, Plan, PlanError};
use crate::train::weights::{Weights, WeightsError, declared};

use super::PictureError;

/// Why nothing was said of pictures.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The images do not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network does not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The machine.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// As many numbers as no batch has.
    #[error("{numbers} numbers are no {batch} images or fewer of {image:?}, height, width and channels")]
    Batch {
        /// How many were given.
        numbers: usize,
        /// The most images.
        batch: usize,
        /// Height, width and channels.
        image: [usize; 3],
    },
    /// The network tells the classes of pixels.
    #[error("{model} has a class for every pixel, not one for an image: take a ResNet or a VT-ResNet")]
    Segments {
        /// The network.
        model: String,
    },
    /// The network tells the class of images.
    #[error("{model} has a class for an image, not one for every pixel: take an FPN or a VT-FPN")]
    NoSegments {
        /// The network.
        model: String,
    },
    /// The network has no tokens.
    #[error(
        "{model} draws no visual tokens by weights: take a VT-ResNet or VT-FPN with a filter or recurrent tokenizer"
    )]
    NoTokens {
        /// The network.
        model: String,
    },
}

/// What is asked of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Classes.
    Classes,
    /// Classes, and where each visual token looks.
    Tokens,
}

/// A network, planned and loaded.
pub struct Classifier {
    executor: Executor,
    batch: usize,
    image: [usize; 3],
    classes: usize,
    /// Heads, tokens and pixels of the attention of each block that draws tokens.
    blocks: Vec<[usize; 3]>,
    map: [usize; 2],
}

/// A class and its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The class.
    pub class: usize,
    /// From 0 to 1; all classes' together are 1.
    pub probability: f64,
}

/// What a network says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// A number for every class.
    pub logits: Vec<f32>,
    /// Where its tokens look, if that was asked for.
    pub looks: Option<Looks>,
}

/// Where the visual tokens of one image look.
#[derive(Clone, Debug, PartialEq)]
pub struct Looks {
    /// Height and width of a map.
    pub size: [usize; 2],
    /// For each block that draws tokens, and each of its tokens, a map, row by row: the shares that pixels have in the
    /// token, the mean over heads. They sum to 1.
    pub blocks: Vec<Vec<Vec<f32>>>,
}

impl Seen {
    /// The likeliest classes, at most so many, the likeliest first and of equals the first; a class whose number is none is
    /// the last.
    #[must_use]
    pub fn best(&self, count: usize) -> Vec<Ranked> {
        let score = |class: usize| if self.logits[class].is_nan() { f32::NEG_INFINITY } else { self.logits[class] };
        let mut classes: Vec<usize> = (0..self.logits.len()).collect();
        classes.sort_by(|&one, &other| score(other).total_cmp(&score(one)));
        let most = classes.first().map_or(0.0, |&class| f64::from(score(class)));
        let exp = |class: usize| (f64::from(self.logits[class]) - most).exp();
        let sum: f64 = (0..self.logits.len()).map(exp).sum();
        classes.truncate(count);
        classes.into_iter().map(|class| Ranked { class, probability: exp(class) / sum }).collect()
    }
}

impl Classifier {
    /// Plans the network for batches of so many images of this height, width and channels, and loads its weights.
    ///
    /// # Errors
    /// When weights, network and images do not fit each other or the machine, or tokens are asked of a network without.
    pub fn new(
        (device, pipelines): (&Device, &Pipelines),
        (network, weights): (&Network, &Weights),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        let model = network.model();
        if model.target() != Target::Images {
            return Err(InferError::Segments { model: model.name().to_owned() });
        }
        // Before there is any memory: a wrong file is found out at once.
        let parameters = declared(model, image)?;
        weights.check(model.name(), &parameters)?;
        let (graph, probed) = graph(network, (batch, image), wanted)?;
        let layout = Layout::of(&[&graph], device.capabilities().offset_alignment)?;
        let homes = Homes::new(device, &layout)?;
        weights.load(&homes, model.name(), &parameters)?;
        Self::on((device, pipelines), &homes, graph, (probed, image, model.classes()))
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
        let (graph, probed) = graph(network, (batch, image), wanted)?;
        Self::on((device, pipelines), homes, graph, (probed, image, network.model().classes()))
    }

    fn on(
        (device, pipelines): (&Device, &Pipelines),
        homes: &Homes,
        graph: Graph,
        (attention, image, classes): (Attention, [usize; 3], usize),
    ) -> Result<Self, InferError> {
        let plan = Plan::new(&graph, homes.layout(), device.capabilities(), Options::default())?;
        let executor = Executor::new(device, pipelines, plan, homes)?;
        let Attention { batch, blocks, map } = attention;
        Ok(Self { executor, batch, image, classes, blocks, map })
    }

    /// The most images that are seen at once.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What the network says of images, one after the other in `numbers` `[N, H, W, C]`, at most a batch.
    ///
    /// # Errors
    /// When there are more than a batch, or no whole number of images, or the machine fails.
    pub fn see(&self, numbers: &[f32]) -> Result<Vec<Seen>, InferError> {
        let each: usize = self.image.iter().product();
        let count = numbers.len() / each;
        if count > self.batch || count * each != numbers.len() {
            return Err(InferError::Batch { numbers: numbers.len(), batch: self.batch, image: self.image });
        }
        let mut padded = numbers.to_vec();
        padded.resize(self.batch * each, 0.0);
        self.executor.write_f32(IMAGES, &padded)?;
        self.executor.run()?;
        let logits = self.executor.read_named(LOGITS)?;
        let mut attention = Vec::with_capacity(self.blocks.len());
        for (at, shape) in self.blocks.iter().enumerate() {
            attention.push((shape, self.executor.read_named(&output(at))?));
        }
        let looks = |image: usize| {
            let blocks = attention.iter().map(|(shape, weights)| {
                let all = shape.iter().product::<usize>();
                maps(&weights[image * all..(image + 1) * all], **shape)
            });
            (!self.blocks.is_empty()).then(|| Looks { size: self.map, blocks: blocks.collect() })
        };
        let images = logits.chunks_exact(self.classes).take(count).enumerate();
        Ok(images.map(|(image, logits)| Seen { logits: logits.to_vec(), looks: looks(image) }).collect())
    }
}

const IMAGES: &str = "images";
const LOGITS: &str = "logits";

fn output(block: usize) -> String {
    format!("attention{block}")
}

/// Batch, the shape of each block's attention, and height and width of the map that it looks at.
struct Attention {
    batch: usize,
    blocks: Vec<[usize; 3]>,
    map: [usize; 2],
}

/// The graph of what is wanted.
fn graph(
    network: &Network,
    (batch, [height, width, channels]): (usize, [usize; 3]),
    wanted: Wanted,
) -> Result<(Graph, Attention), InferError> {
    let mut graph = Graph::new();
    let images = graph.input(IMAGES, Tensor::f32([batch, height, width, channels]));
    let parameters = &mut Parameters::new();
    let Probed { logits, attention, size } = match (network, wanted) {
        (Network::VtResNet(network), Wanted::Tokens) => {
            network.probed(&mut graph, parameters, images, Probe { attention: true, ..Probe::default() })?
        }
        _ => {
            let logits = network.model().logits(&mut graph, parameters, images, Mode::Evaluate)?;
            Probed { logits, attention: Vec::new(), size: [0; 2] }
        }
    };
    if wanted == Wanted::Tokens && attention.is_empty() {
        return Err(InferError::NoTokens { model: network.model().name().to_owned() });
    }
    graph.output(LOGITS, logits);
    let mut blocks = Vec::with_capacity(attention.len());
    for (at, &weights) in attention.iter().enumerate() {
        graph.output(output(at), weights);
        blocks.push(shape(&graph, weights));
    }
    Ok((graph.fused()?.graph, Attention { batch, blocks, map: size }))
}

/// Heads, tokens and pixels.
fn shape(graph: &Graph, attention: Value) -> [usize; 3] {
    let [_, heads, tokens, pixels] = graph.tensor(attention).shape.dims();
    [heads, tokens, pixels]
}

/// `[heads, tokens, pixels]` → for each token its pixels, the mean over heads.
pub(super) fn maps(weights: &[f32], [heads, tokens, pixels]: [usize; 3]) -> Vec<Vec<f32>> {
    let at = |head: usize, token: usize, pixel: usize| weights[(head * tokens + token) * pixels + pixel];
    let mean = |token, pixel| (0..heads).map(|head| at(head, token, pixel)).sum::<f32>() / heads as f32;
    (0..tokens).map(|token| (0..pixels).map(|pixel| mean(token, pixel)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_is_the_first_and_none_the_last() {
        let seen = |logits: &[f32]| Seen { logits: logits.to_vec(), looks: None };
        let best = seen(&[0.0, 2.0, 2.0, -1.0]).best(3);
        assert_eq!(best.iter().map(|ranked| ranked.class).collect::<Vec<_>>(), [1, 2, 0]);
        let sum: f64 = seen(&[900.0, 2.0, 2.0]).best(9).iter().map(|ranked| ranked.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert_eq!(seen(&[f32::NAN, 1.0]).best(1)[0].class, 1);
        assert!(seen(&[]).best(5).is_empty());
    }

    #[test]
    fn maps_are_means_over_heads() {
        let weights: Vec<f32> = (0..12).map(|at| at as f32).collect();
        assert_eq!(maps(&weights, [2, 3, 2]), [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]);
    }
}
