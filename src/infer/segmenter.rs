//! A network that segments, planned and loaded: the class of every pixel of an image.

use super::classifier::{InferError, Looks, Wanted};
use super::loaded::{Loaded, Shown};
use crate::gpu::{Device, Homes, Pipelines};
use crate::models::{Network, Parameters};
use crate::train::weights::Weights;

/// A network that segments, planned and loaded.
pub struct Segmenter {
    loaded: Loaded,
    /// Height and width of the map of each level whose tokens are looked at.
    levels: Vec<[usize; 2]>,
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

const CLASSES: &str = "classes";

impl Segmenter {
    /// Plans the network for batches of so many images of this height, width and channels, and loads its weights.
    ///
    /// # Errors
    /// When weights, network and images do not fit each other or the machine, the network does not segment, or tokens are asked of one
    /// without.
    pub fn new(
        on: (&Device, &Pipelines),
        (network, weights): (&Network, &Weights),
        (batch, image): (usize, [usize; 3]),
        wanted: Wanted,
    ) -> Result<Self, InferError> {
        let (shown, levels) = shown(network, (batch, image), wanted)?;
        Ok(Self { loaded: shown.load(on, (network.model(), weights))?, levels })
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
        let (shown, levels) = shown(network, (batch, image), wanted)?;
        Ok(Self { loaded: shown.share(on, homes)?, levels })
    }

    /// The classes of the pixels of images, one after the other in `numbers` `[N, H, W, C]`, at most a batch.
    ///
    /// # Errors
    /// When there are more than a batch, or no whole number of images, or the machine fails.
    pub fn segment(&self, numbers: &[f32]) -> Result<Vec<Segmentation>, InferError> {
        let count = self.loaded.show(numbers)?;
        let classes = self.loaded.executor.read_named_u32(CLASSES)?;
        let size = [self.loaded.image[0], self.loaded.image[1]];
        let images = classes.chunks_exact(size[0] * size[1]).zip(self.loaded.looks(count)?);
        let looks = |(maps, &size)| Looks { size, blocks: vec![maps] };
        let image = |(classes, maps): (&[u32], Vec<_>)| Segmentation {
            size,
            classes: classes.to_vec(),
            looks: maps.into_iter().zip(&self.levels).map(looks).collect(),
        };
        Ok(images.map(image).collect())
    }
}

/// The graph of what is wanted, and the size of the map of each level whose tokens it looks at.
fn shown(
    network: &Network,
    (batch, image): (usize, [usize; 3]),
    wanted: Wanted,
) -> Result<(Shown, Vec<[usize; 2]>), InferError> {
    let model = || network.model().name().to_owned();
    let Network::Fpn(fpn) = network else { return Err(InferError::NoSegments { model: model() }) };
    let mut shown = Shown::new(batch, image);
    let images = shown.images;
    let probed = fpn.probed(&mut shown.graph, &mut Parameters::new(), images, wanted == Wanted::Tokens)?;
    if wanted == Wanted::Tokens && probed.attention.is_empty() {
        return Err(InferError::NoTokens { model: model() });
    }
    shown.graph.output(CLASSES, probed.classes);
    probed.attention.iter().for_each(|&(weights, _)| shown.look_at(weights));
    Ok((shown, probed.attention.into_iter().map(|(_, size)| size).collect()))
}
