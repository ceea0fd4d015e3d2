//! What `eval` and `teach` share: weights, and the images that their network is shown.

use std::path::PathBuf;

use clap::Args;
use vistok::models::{Model, Network};
use vistok::train::batches::Normalization;
use vistok::train::checkpoint::About;
use vistok::train::weights::Weights;
use vistok::train::{Evaluator, Samples, Split, View};

use super::corrupt::CorruptArgument;
use super::eval::{Evaluation, usual_source};
use super::machine::{Machine, MachineArgument};
use super::progress::Progress;
use super::{Error, sight};

/// Whose weights, and what they are shown.
#[derive(Debug, Args)]
pub(super) struct ShownArgument {
    /// The weight file (safetensors): one that `demo` or `train` has written, or PyTorch's under torchvision's names.
    #[arg(long, value_name = "FILE")]
    pub(super) weights: PathBuf,
    /// The model [default: what the weights say, or the only one that has such tensors].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// `embedded`, `scenes`, `fashion-mnist:DIR`, `cifar:DIR`, `folder:DIR` or `shards:DIR` (see `train`) [default: embedded, scenes for
    /// models that segment].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Take the weights themselves, where the file has moving averages of them, too (`train --ema`) [default: the averages].
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Which images of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

/// Images in a batch, where no run says how many.
const BATCH: usize = 64;

/// Images as those were that the weights have learned.
pub(super) struct Shown<'a> {
    argument: &'a ShownArgument,
    pub(super) images: Box<dyn Samples>,
    /// What to call the data.
    pub(super) data: String,
    pub(super) normalization: Normalization,
    batch: usize,
    /// Height, width and channels.
    image: [usize; 3],
    /// Steps that the weights have learned, if they say so.
    pub(super) step: Option<u64>,
}

impl ShownArgument {
    /// The weights and their network.
    pub(super) fn network(&self) -> Result<(Weights, Network), Error> {
        let file = sight::weights(&self.weights, self.raw)?;
        let network = sight::network(&file, self.model.as_deref())?;
        Ok((file, network))
    }

    /// The images.
    pub(super) fn images(
        &self,
        (file, model): (&Weights, &dyn Model),
        corrupt: &CorruptArgument,
        part: Part,
    ) -> Result<Shown<'_>, Error> {
        let source = self.data.as_deref().map_or_else(|| Ok(usual_source(model)), str::parse)?;
        let [height, width, _] = file.image();
        let view = View { size: [height, width], scale: [1.0; 2] };
        let known = file.about();
        if let (Some(about), Part::Test) = (known, part) {
            let (test, data) = Split::open_test(&source, model.target(), view)?;
            return Ok(self.noted(corrupt.applied(test), data, about));
        }
        let Split { train, test, name: data } = Split::open(&source, model.target(), view)?;
        let [train, test] = [train, test].map(|images| corrupt.applied(images));
        if let Some(about) = known {
            return Ok(self.noted(train, data, about));
        }
        // What no run has noted is as it would be for one that learned these images.
        let normalization = train.normalization()?;
        let images = if part == Part::Train { train } else { test };
        let image = images.image();
        Ok(Shown { argument: self, images, data, normalization, batch: BATCH, image, step: None })
    }

    /// As a run has noted it.
    fn noted(&self, images: Box<dyn Samples>, data: String, about: &About) -> Shown<'_> {
        let About { normalization, batch, image, step, .. } = *about;
        Shown { argument: self, images, data, normalization, batch, image, step: Some(step) }
    }
}

impl Shown<'_> {
    /// The network with its weights, which shows how far it has come with these images.
    pub(super) fn evaluator(
        &self,
        (file, model): (&Weights, &dyn Model),
        doing: &'static str,
    ) -> Result<(Machine, Evaluator), Error> {
        let [height, width, channels] = self.image;
        let evaluation = Evaluation::of((model, file), [self.batch, height, width, channels])?;
        let (machine, evaluator) = Machine::prepare(&self.argument.machine, |machine| evaluation.on(machine))?;
        let progress = Progress::new(doing, 0, self.images.count() as u64);
        Ok((machine, evaluator.telling(move |seen| progress.at(seen as u64, ""))))
    }
}
