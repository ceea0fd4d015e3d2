//! A model on a batch of images, as arguments that several commands take.

use clap::Args;
use vistok::bench::{ModelSubject, Task};
use vistok::models::Model;

use super::learning::elem;
use super::{Error, presets};

/// Which model, on what, and what for.
#[derive(Debug, Args)]
pub(crate) struct SubjectArguments {
    /// A model, such as resnet50 or vt-resnet18.
    model: String,
    /// A step of training. Without, inference.
    #[arg(long)]
    train: bool,
    /// Hold images and activations in f16; training is of mixed precision then.
    #[arg(long)]
    f16: bool,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model and Fashion-MNIST's, 800x1216x3 for FPNs,
    /// 224x224x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = presets::image)]
    image: Option<[usize; 3]>,
}

impl SubjectArguments {
    fn sizes(&self) -> presets::Sizes {
        presets::published(&self.model)
    }

    /// The model.
    pub(crate) fn model(&self) -> Result<Box<dyn Model>, Error> {
        presets::model(&self.model, self.sizes().classes)
    }

    /// The model with its images.
    pub(crate) fn of<'a>(&self, model: &'a dyn Model) -> ModelSubject<'a> {
        let [height, width, channels] = self.image.unwrap_or(self.sizes().image);
        let task = if self.train { Task::Training } else { Task::Forward };
        ModelSubject { model, images: [self.batch as usize, height, width, channels], elem: elem(self.f16), task }
    }
}
