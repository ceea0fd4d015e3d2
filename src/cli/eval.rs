//! `vistok eval`: the accuracy of weights that a training run has written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::gpu::Homes;
use vistok::graph::Graph;
use vistok::models::{Model, Parameters, Target};
use vistok::plan::Layout;
use vistok::train::batches::Normalization;
use vistok::train::checkpoint::About;
use vistok::train::data::Source;
use vistok::train::step::scored_evaluation;
use vistok::train::weights::Weights;
use vistok::train::{Evaluator, Samples, Split, View};

use super::corrupt::{self, CorruptArgument};
use super::machine::{Machine, MachineArgument};
use super::progress::Progress;
use super::{Error, score, sight, speak};

/// Evaluate weights on test images: those that `demo` or `train` has written, or PyTorch's under torchvision's names.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The weight file (safetensors).
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
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
    corrupt: CorruptArgument,
    /// One JSON document on standard output: `test_accuracy`; of models that segment `test_mean_iou` and more; `test_images`, and how
    /// many others were skipped; `averaged`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Images in a batch, where no run says how many.
const BATCH: usize = 64;

/// Weights that fit their network, ready for a machine.
pub(super) struct Evaluation<'a> {
    model: &'a dyn Model,
    file: &'a Weights,
    graph: Graph,
    parameters: Parameters,
}

impl<'a> Evaluation<'a> {
    /// Compares the weights with the network that is to see such batches of images.
    pub(super) fn of((model, file): (&'a dyn Model, &'a Weights), images: [usize; 4]) -> Result<Self, Error> {
        let mut parameters = Parameters::new();
        let graph = scored_evaluation(model, &mut parameters, images)?;
        file.check(model.name(), &parameters)?;
        Ok(Self { model, file, graph, parameters })
    }

    /// Loads the weights.
    pub(super) fn on(&self, machine: &Machine) -> Result<Evaluator, Error> {
        let layout = Layout::of(&[&self.graph], machine.device.capabilities().offset_alignment)?;
        let homes = Homes::new(&machine.device, &layout)?;
        self.file.load(&homes, self.model.name(), &self.parameters)?;
        Ok(Evaluator::new(&machine.device, &machine.pipelines, &self.graph, &homes)?)
    }
}

/// Where a model is tried on images, if nobody says.
pub(super) fn usual_source(model: &dyn Model) -> Source {
    if model.target() == Target::Pixels { Source::Scenes } else { Source::Embedded }
}

/// Images that weights are shown, as those that they have learned.
pub(super) struct Shown {
    pub(super) images: Box<dyn Samples>,
    /// What to call the data.
    pub(super) data: String,
    pub(super) normalization: Normalization,
    batch: usize,
    /// Height, width and channels.
    image: [usize; 3],
    /// Steps that the weights have learned, if they say so.
    step: Option<u64>,
}

impl Shown {
    /// Those to test on, or to train on.
    pub(super) fn open(
        (file, model): (&Weights, &dyn Model),
        data: Option<&str>,
        corrupt: &CorruptArgument,
        trains: bool,
    ) -> Result<Self, Error> {
        let source = data.map_or_else(|| Ok(usual_source(model)), str::parse)?;
        let [height, width, _] = file.image();
        let view = View { size: [height, width], scale: [1.0; 2] };
        let known = file.about();
        if let (Some(about), false) = (known, trains) {
            let (test, data) = Split::open_test(&source, model.target(), view)?;
            return Ok(Self::of(corrupt.applied(test), data, about));
        }
        let Split { train, test, name } = Split::open(&source, model.target(), view)?;
        let [train, test] = [train, test].map(|images| corrupt.applied(images));
        if let Some(about) = known {
            return Ok(Self::of(train, name, about));
        }
        // What no run has noted is as it would be for one that learned these images.
        let normalization = train.normalization()?;
        let images = if trains { train } else { test };
        let image = images.image();
        Ok(Self { images, data: name, normalization, batch: BATCH, image, step: None })
    }

    /// As a run has noted it.
    fn of(images: Box<dyn Samples>, data: String, about: &About) -> Self {
        let About { normalization, batch, image, step, .. } = *about;
        Self { images, data, normalization, batch, image, step: Some(step) }
    }

    /// The network with its weights, which shows how far it has come with these images.
    pub(super) fn evaluator(
        &self,
        (file, model): (&Weights, &dyn Model),
        machine: &MachineArgument,
        doing: &'static str,
    ) -> Result<(Machine, Evaluator), Error> {
        let [height, width, channels] = self.image;
        let evaluation = Evaluation::of((model, file), [self.batch, height, width, channels])?;
        let (machine, evaluator) = Machine::prepare(machine, |machine| evaluation.on(machine))?;
        let progress = Progress::new(doing, 0, self.images.count() as u64);
        Ok((machine, evaluator.telling(move |seen| progress.at(seen as u64, ""))))
    }
}

/// Evaluates.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let file = sight::weights(&arguments.weights, arguments.raw)?;
    let network = sight::network(&file, arguments.model.as_deref())?;
    let model = network.model();
    let shown = Shown::open((&file, model), arguments.data.as_deref(), &arguments.corrupt, false)?;
    let (machine, evaluator) = shown.evaluator((&file, model), &arguments.machine, "evaluating")?;
    let Shown { images: test, data, normalization, step, .. } = shown;
    let score = evaluator.score(&*test, normalization)?;
    drop(evaluator);
    let (model, adapter) = (model.name(), machine.name());
    let after = step.map_or_else(String::new, |step| format!(" after {step} steps"));
    let counted = test.count() - test.skipped();
    let averaged = if file.are_averaged() { ", weights averaged over steps" } else { "" };
    let text = corrupt::said(&[("test", &*test)])
        + &format!("{model}{after}{averaged}, on {adapter}: {} ({data})\n", score::said(&score, counted));
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let mut document = json!({
            "test_images": counted,
            "skipped_images": test.skipped(),
            "model": model,
            "steps": step,
            "averaged": file.are_averaged(),
            "adapter": adapter,
        });
        score::tell(&score, &mut document);
        speak::say_json(&document)?;
    }
    Ok(())
}
