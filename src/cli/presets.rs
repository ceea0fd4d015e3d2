//! Models by name and sizes of images, for arguments.

use vistok::models::{Model, ResNet, VtResNet, by_name};

use super::Error;

/// The model of this name; the error lists the names that there are.
pub(crate) fn model(name: &str, classes: usize) -> Result<Box<dyn Model>, Error> {
    by_name(name, classes).ok_or_else(|| {
        let resnets = ResNet::presets(classes);
        let vt_resnets = VtResNet::presets(classes);
        let names = resnets.iter().map(Model::name).chain(vt_resnets.iter().map(Model::name));
        Error::Model { name: name.to_owned(), known: names.collect::<Vec<_>>().join(", ") }
    })
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

/// The demo's sizes for its model, `others` for the others.
pub(crate) fn default(model: &str, others: Sizes) -> Sizes {
    if model.ends_with("-demo") { Sizes { image: [28, 28, 1], classes: 10 } } else { others }
}

/// `HxWxC`, none of them 0.
pub(crate) fn image(text: &str) -> Result<[usize; 3], String> {
    let sizes: Vec<usize> = text.split('x').filter_map(|size| size.parse().ok()).collect();
    match <[usize; 3]>::try_from(sizes) {
        Ok(sizes) if text.split('x').count() == 3 && !sizes.contains(&0) => Ok(sizes),
        _ => Err("height, width and channels are three numbers above 0, such as 28x28x1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn sizes_are_three_numbers_above_zero() {
        assert_eq!(image("28x27x1"), Ok([28, 27, 1]));
        for wrong in ["", "28", "28x28", "28x28x0", "28x28x1x1", "axbxc", "28x28x1xa", "-1x2x3"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
    }
}
