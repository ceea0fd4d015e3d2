//! Sample images: what they are, what they are taken for, and where visual tokens look in them.

use vistok::infer::{Classifier, InferError, Looks, Segmentation, Segmenter, Transform, Wanted};
use vistok::models::{Network, Target};
use vistok::picture::Picture;
use vistok::train::Samples;
use vistok::train::checkpoint::About;
use vistok::train::weights::Weights;

use crate::cli::Error;
use crate::cli::machine::Machine;
use crate::cli::picture::token_page;
use crate::cli::png::png;
use crate::cli::segment::color;

/// How many are shown.
const SAMPLES: usize = 4;

/// An image of the test set.
pub(super) struct Sample {
    pub(super) index: usize,
    /// Its class and the one that it is taken for; of models that segment there is none.
    pub(super) classes: Option<[usize; 2]>,
    /// The image, the classes of its pixels, and what they are taken for, side by side: a PNG file.
    pub(super) masks: Option<Vec<u8>>,
    /// Where visual tokens look, if there are any: a PNG file.
    pub(super) tokens: Option<Vec<u8>>,
}

/// Image `index` and its labels.
pub(super) fn sample(test: &dyn Samples, index: usize) -> Result<(Picture, Vec<u32>), Error> {
    let [height, width, channels] = test.image();
    let each = test.target().labels([1, height, width, channels]).count();
    let (mut pixels, mut labels) = (vec![0; height * width * channels], vec![0; each]);
    test.sample(index, None, &mut pixels, &mut labels)?;
    Ok((Picture { size: [height, width], channels, pixels }, labels))
}

impl Sample {
    /// Some of the test images, of classes as different as can be.
    pub(super) fn all(
        machine: &Machine,
        of: (&Network, &Weights),
        (test, about): (&dyn Samples, &About),
    ) -> Result<Vec<Self>, Error> {
        let transform = Transform::whole(about.image, about.normalization);
        let on = (&machine.device, &machine.pipelines);
        let mut samples = Vec::new();
        if test.target() == Target::Pixels {
            let segmenter = with_tokens(|wanted| Segmenter::new(on, of, (1, about.image), wanted))?;
            for index in 0..SAMPLES.min(test.count()) {
                let (picture, labels) = sample(test, index)?;
                let found = segmenter.segment(&transform.numbers(&picture))?.into_iter().next();
                let masks = found.as_ref().map(|found| masks(&picture, &labels, found)).transpose()?;
                // Of all levels the one with the largest map.
                let tokens = tokens(&picture, found.as_ref().and_then(|found| found.looks.first()))?;
                samples.push(Self { index, classes: None, masks, tokens });
            }
            return Ok(samples);
        }
        let classifier = with_tokens(|wanted| Classifier::new(on, of, (1, about.image), wanted))?;
        for index in spread(test, about.classes)? {
            let (picture, labels) = sample(test, index)?;
            let Some(seen) = classifier.see(&transform.numbers(&picture))?.into_iter().next() else { continue };
            let found = seen.best(1).first().map_or(0, |best| best.class);
            let tokens = tokens(&picture, seen.looks.as_ref())?;
            samples.push(Self { index, classes: Some([labels[0] as usize, found]), masks: None, tokens });
        }
        Ok(samples)
    }
}

/// With tokens where the network has any.
fn with_tokens<T>(make: impl Fn(Wanted) -> Result<T, InferError>) -> Result<T, InferError> {
    match make(Wanted::Tokens) {
        Err(InferError::NoTokens { .. }) => make(Wanted::Classes),
        made => made,
    }
}

/// The first image of each of some classes, spread over all of them.
fn spread(test: &dyn Samples, classes: usize) -> Result<Vec<usize>, Error> {
    let mut wanted: Vec<usize> = (0..SAMPLES.min(classes)).map(|at| at * classes / SAMPLES.min(classes)).collect();
    let mut found = Vec::new();
    for index in 0..test.count() {
        if wanted.is_empty() {
            break;
        }
        let (_, labels) = sample(test, index)?;
        if let Some(at) = wanted.iter().position(|&class| class == labels[0] as usize) {
            wanted.remove(at);
            found.push(index);
        }
    }
    Ok(found)
}

fn tokens(picture: &Picture, looks: Option<&Looks>) -> Result<Option<Vec<u8>>, Error> {
    looks.map(|looks| token_page(picture, looks)).transpose()
}

/// Image, classes and what was found, side by side.
fn masks(picture: &Picture, labels: &[u32], found: &Segmentation) -> Result<Vec<u8>, Error> {
    let [height, width] = picture.size;
    let image = picture.in_channels(3);
    let mut bytes = Vec::with_capacity(9 * height * width);
    for row in 0..height {
        let pixels = row * width..(row + 1) * width;
        bytes.extend_from_slice(&image.pixels[3 * pixels.start..3 * pixels.end]);
        bytes.extend(labels[pixels.clone()].iter().flat_map(|&class| color(class)));
        bytes.extend(found.classes[pixels].iter().flat_map(|&class| color(class)));
    }
    png([height, 3 * width], bytes)
}
