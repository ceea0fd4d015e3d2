//! `vistok eval`: the accuracy of weights that a training run has written.

use clap::Args;
use serde_json::json;
use vistok::gpu::Homes;
use vistok::graph::Graph;
use vistok::models::{Model, Parameters, Target};
use vistok::plan::Layout;
use vistok::train::Evaluator;
use vistok::train::data::Source;
use vistok::train::step::scored_evaluation;
use vistok::train::weights::Weights;

use super::corrupt::{self, CorruptArgument};
use super::machine::Machine;
use super::shown::{Part, Shown, ShownArgument};
use super::{Error, score, speak};

/// Evaluate weights on test images: those that `demo` or `train` has written, or PyTorch's under torchvision's names.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    shown: ShownArgument,
    #[command(flatten)]
    corrupt: CorruptArgument,
    /// One JSON document on standard output: `test_accuracy`; of models that segment `test_mean_iou` and more; `test_images`, and how
    /// many others were skipped; `averaged`.
    #[arg(long)]
    json: bool,
}

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

/// Evaluates.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let (file, network) = arguments.shown.network()?;
    let model = network.model();
    let shown = arguments.shown.images((&file, model), &arguments.corrupt, Part::Test)?;
    let (machine, evaluator) = shown.evaluator((&file, model), "evaluating")?;
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
