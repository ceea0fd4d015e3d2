//! Models by name and sizes of images, for arguments.

use vistok::models::{Model, Network, Target};

use super::Error;

/// The model of this name; the error lists the names that there are.
pub(crate) fn model(name: &str, classes: usize) -> Result<Box<dyn Model>, Error> {
    Ok(Network::named(name, classes)?.into_model())
}

/// What a model is made for where the arguments do not say.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Height, width and channels.
    pub(crate) image: [usize; 3],
    pub(crate) classes: usize,
}

/// The sizes of ImageNet.
pub(crate) const IMAGENET: Sizes = Sizes { image: [224, 224, 3], classes: 1000 };
/// The sizes of COCO-stuff, with the classes that Detectron2 counts.
const COCO_STUFF: Sizes = Sizes { image: [800, 1216, 3], classes: 54 };

/// The sizes for which the paper states what the model costs; small ones for models that are made for them.
pub(crate) fn published(model: &str) -> Sizes {
    let of_pixels =
        Network::named(model, COCO_STUFF.classes).is_ok_and(|network| network.model().target() == Target::Pixels);
    default(model, if of_pixels { COCO_STUFF } else { IMAGENET })
}

/// Height and width at which a model is shown pictures in training: the demo's for narrow ones.
pub(crate) fn view(model: &str, target: Target) -> [usize; 2] {
    let [height, width, _] = default(model, IMAGENET).image;
    match target {
        Target::Pixels if model.ends_with("-small") => [96, 96],
        Target::Pixels => [512, 512],
        Target::Images => [height, width],
    }
}

/// The demo's sizes for its model and those made for the same images, `others` for the others.
pub(crate) fn default(model: &str, others: Sizes) -> Sizes {
    if model.ends_with("-demo") || model.ends_with("-fashion") {
        Sizes { image: [28, 28, 1], classes: 10 }
    } else {
        others
    }
}

/// `HxWxC`, none of them 0.
pub(crate) fn image(text: &str) -> Result<[usize; 3], String> {
    let said = "height, width and channels are three numbers above 0, such as 28x28x1";
    sizes(text).ok_or_else(|| said.to_owned())
}

/// `HxW`, none of them 0.
pub(crate) fn size(text: &str) -> Result<[usize; 2], String> {
    sizes(text).ok_or_else(|| "height and width are two numbers above 0, such as 224x224".to_owned())
}

fn sizes<const N: usize>(text: &str) -> Option<[usize; N]> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    <[usize; N]>::try_from(sizes?).ok().filter(|sizes| !sizes.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::{image, size};

    #[test]
    fn sizes_are_three_numbers_above_zero() {
        assert_eq!(image("28x27x1"), Ok([28, 27, 1]));
        for wrong in ["", "28", "28x28", "28x28x0", "28x28x1x1", "axbxc", "28x28x1xa", "-1x2x3"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("28x27"), Ok([28, 27]));
        assert!(size("28x28x1").is_err() && size("28").is_err() && size("0x28").is_err());
    }
}
