//! What `classify` and `tokens` share: the weights, the network that they are of, and how it is shown pictures.

use std::path::{Path, PathBuf};

use clap::Args;
use vistok::infer::Transform;
use vistok::models::Network;
use vistok::picture::Picture;
use vistok::train::weights::{Weights, declared};

use super::machine::MachineArgument;
use super::{Error, presets};

/// Which network sees, and how.
#[derive(Debug, Args)]
pub(crate) struct SightArgument {
    /// Weights (safetensors): those of `demo` or `train`, or PyTorch's under torchvision's and timm's names.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The model [default: what the weights say, or the only one that has such tensors].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Take the weights themselves, where the file has moving averages of them, too (`train --ema`) [default: the averages].
    #[arg(long)]
    raw: bool,
    /// Height and width of what the network sees [default: what it was trained with, or 224x224].
    #[arg(long, value_name = "HxW", value_parser = presets::size)]
    size: Option<[usize; 2]>,
    /// To how many pixels the shorter side of an image is brought, before its middle is cut out [default: of weights from
    /// PyTorch 8/7 of --size, 256 for 224; of our own --size; segmented, the whole image within --size].
    #[arg(long, value_name = "N")]
    resize: Option<usize>,
    #[command(flatten)]
    pub(crate) machine: MachineArgument,
}

/// Weights that fit their network.
pub(crate) struct Sight {
    pub(crate) weights: Weights,
    pub(crate) network: Network,
    pub(crate) transform: Transform,
}

impl SightArgument {
    /// Opens the weights and compares them with the network; nothing is computed yet.
    pub(crate) fn prepare(&self) -> Result<Sight, Error> {
        let weights = weights(&self.weights, self.raw)?;
        let network = network(&weights, self.model.as_deref())?;
        let mut transform = Transform::of(&weights);
        if let Some(crop) = self.size {
            transform = match weights.about() {
                Some(about) => Transform::whole([crop[0], crop[1], about.image[2]], about.normalization),
                None => Transform::imagenet(crop, transform.channels),
            };
        }
        transform.resize = self.resize.unwrap_or(transform.resize);
        let parameters = declared(network.model(), transform.image())?;
        weights.check(network.model().name(), &parameters)?;
        Ok(Sight { weights, network, transform })
    }

    /// The transform for a whole picture of this height and width: as large as those were that a run of ours was tried on, unless
    /// --resize says otherwise.
    pub(crate) fn for_whole(&self, sight: &Sight, size: [usize; 2]) -> Transform {
        let transform = sight.transform.clone();
        let ours = self.resize.is_none() && sight.weights.about().is_some();
        if ours { transform.fitting(size) } else { transform }
    }
}

/// A file's weights, or their averages where it has them and `raw` does not say otherwise.
pub(crate) fn weights(file: &Path, raw: bool) -> Result<Weights, Error> {
    let weights = Weights::open(file)?;
    Ok(if raw { weights.raw() } else { weights })
}

/// The network of this name with as many classes as the weights have; without a name, the one that they are of.
pub(crate) fn network(weights: &Weights, name: Option<&str>) -> Result<Network, Error> {
    match name {
        // Where there is no classifier, that is found out when tensors are compared.
        Some(name) => Ok(Network::named(name, weights.classes().unwrap_or(presets::IMAGENET.classes))?),
        None => Ok(weights.network()?),
    }
}

/// What of a file the network sees.
pub(crate) fn view(file: &Path, transform: &Transform) -> Result<Picture, Error> {
    let view = transform.view(&Picture::open(file)?);
    // A picture in memory has no name.
    view.map_err(|error| Error::Refused(format!("{}: {error}", file.display())))
}
