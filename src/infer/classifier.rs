//! A network on a machine, ready to be shown pictures.

use crate::gpu::{self, Device, Homes, Pipelines};
use crate::graph::GraphError;
use crate::models::{Mode, Network, Parameters, Probe, Probed, Target};
use crate::picture::PictureError;
use crate::plan::PlanError;
use crate::train::weights::{Weights, WeightsError};

use super::loaded::{Loaded, Shown};

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
    loaded: Loaded,
    classes: usize,
    /// Height and width of the map that tokens look at.
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
        on: (&Device, &Pipelines),
        (network, weights): (&Network, &Weights),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        let (shown, map) = shown(network, (batch, image), wanted)?;
        let model = network.model();
        Ok(Self { loaded: shown.load(on, (model, weights))?, classes: model.classes(), map })
    }

    /// The same on homes that hold the weights already: those of a training run.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn sharing(
        on: (&Device, &Pipelines),
        (network, homes): (&Network, &Homes),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        let (shown, map) = shown(network, (batch, image), wanted)?;
        Ok(Self { loaded: shown.share(on, homes)?, classes: network.model().classes(), map })
    }

    /// The most images that are seen at once.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.loaded.batch
    }

    /// What the network says of images, one after the other in `numbers` `[N, H, W, C]`, at most a batch.
    ///
    /// # Errors
    /// When there are more than a batch, or no whole number of images, or the machine fails.
    pub fn see(&self, numbers: &[f32]) -> Result<Vec<Seen>, InferError> {
        let count = self.loaded.show(numbers)?;
        let logits = self.loaded.executor.read_named(LOGITS)?;
        let images = logits.chunks_exact(self.classes).zip(self.loaded.looks(count)?);
        let looks = |blocks: Vec<_>| (!blocks.is_empty()).then_some(Looks { size: self.map, blocks });
        Ok(images.map(|(logits, blocks)| Seen { logits: logits.to_vec(), looks: looks(blocks) }).collect())
    }
}

const LOGITS: &str = "logits";

/// The graph of what is wanted, and height and width of the map that tokens look at.
fn shown(
    network: &Network,
    (batch, image): (usize, [usize; 3]),
    wanted: Wanted,
) -> Result<(Shown, [usize; 2]), InferError> {
    let model = network.model();
    if model.target() != Target::Images {
        return Err(InferError::Segments { model: model.name().to_owned() });
    }
    let mut shown = Shown::new(batch, image);
    let (images, parameters) = (shown.images, &mut Parameters::new());
    let Probed { logits, attention, size } = match (network, wanted) {
        (Network::VtResNet(network), Wanted::Tokens) => {
            network.probed(&mut shown.graph, parameters, images, Probe { attention: true, ..Probe::default() })?
        }
        _ => {
            let logits = model.logits(&mut shown.graph, parameters, images, Mode::Evaluate)?;
            Probed { logits, attention: Vec::new(), size: [0; 2] }
        }
    };
    if wanted == Wanted::Tokens && attention.is_empty() {
        return Err(InferError::NoTokens { model: model.name().to_owned() });
    }
    shown.graph.output(LOGITS, logits);
    attention.into_iter().for_each(|weights| shown.look_at(weights));
    Ok((shown, size))
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
}
