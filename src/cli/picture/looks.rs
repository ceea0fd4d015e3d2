//! What the tokens of a trained network look at, for some test images: the real attention weights.

use vistok::infer::{Classifier, Wanted};
use vistok::models::{Network, VtResNet};
use vistok::train::Trainer;
use vistok::train::batches::{Augmentation, Batches};
use vistok::train::data::{FASHION_MNIST_CLASSES, Images};

use crate::cli::Error;
use crate::cli::machine::Machine;

/// One image, and where each token of each block looks in it.
pub(crate) struct Look {
    /// What the image shows, and what the network takes it for.
    pub(super) names: [String; 2],
    /// The image, row by row, 0 to 1.
    pub(super) image: Vec<f32>,
    /// For each block and token a map, row by row: the shares that its pixels have in the token. They sum to 1.
    pub(super) blocks: Vec<Vec<Vec<f32>>>,
}

/// Images of different classes.
pub(crate) struct Looks {
    pub(super) all: Vec<Look>,
    /// Height and width of an image.
    pub(super) image: [usize; 2],
    /// Height and width of a map.
    pub(super) map: [usize; 2],
}

/// How many images.
const IMAGES: usize = 8;

impl Looks {
    /// Looks into the network as it is now, at the first test image of each of eight classes.
    pub(crate) fn of(machine: &Machine, trainer: &Trainer, model: &VtResNet, test: &Images) -> Result<Self, Error> {
        let chosen = chosen(test);
        let (on, network) = ((&machine.device, &machine.pipelines), Network::from(model.clone()));
        let image = [test.height, test.width, test.channels];
        let shown = (chosen.len(), image);
        let classifier = Classifier::sharing(on, (&network, trainer.homes()), shown, Wanted::Tokens)?;
        let normalization = trainer.about().normalization;
        let batches = Batches::new(test, normalization, chosen.len(), 0, Augmentation::default())?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        batches.batch(&chosen, &mut pixels, &mut labels)?;
        let mut map = [0; 2];
        let mut all = Vec::with_capacity(chosen.len());
        for (seen, &index) in classifier.see(&pixels)?.into_iter().zip(&chosen) {
            let best = seen.best(1).first().map_or(0, |ranked| ranked.class);
            let elems = test.elems_per_image();
            let image = &test.pixels[index * elems..(index + 1) * elems];
            let Some(looks) = seen.looks else { continue };
            map = looks.size;
            all.push(Look {
                names: [usize::from(test.labels[index]), best].map(class),
                image: image.chunks_exact(test.channels).map(|pixel| f32::from(pixel[0]) / 255.0).collect(),
                blocks: looks.blocks,
            });
        }
        Ok(Self { all, image: [test.height, test.width], map })
    }
}

/// The first image of each of some classes, spread over all of them.
fn chosen(images: &Images) -> Vec<usize> {
    let first = |class: usize| images.labels.iter().position(|&label| usize::from(label) == class);
    let count = IMAGES.min(images.classes);
    (0..count).filter_map(|at| first(at * images.classes / count)).collect()
}

fn class(label: usize) -> String {
    FASHION_MNIST_CLASSES.get(label).map_or_else(|| label.to_string(), |name| (*name).to_owned())
}
