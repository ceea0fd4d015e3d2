//! `vistok eval`: the accuracy of weights that a training run has written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::gpu::Homes;
use vistok::models::Parameters;
use vistok::plan::Layout;
use vistok::train::Evaluator;
use vistok::train::batches::Normalization;
use vistok::train::data::Dataset;
use vistok::train::step::evaluation;
use vistok::train::weights::Weights;

use super::machine::{Machine, MachineArgument};
use super::{Error, sight, speak};

/// Evaluate weights on test images: those that `demo` or `train` has written, or PyTorch's under torchvision's names.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The weight file (safetensors).
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The model [default: what the weights say, or the only one that has such tensors].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// `embedded` or `fashion-mnist:DIR`, the folder with the four IDX files [default: embedded].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// One JSON document on standard output: `test_accuracy`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Images in a batch, where no run says how many.
const BATCH: usize = 64;

/// Evaluates.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let file = Weights::open(&arguments.weights)?;
    let network = sight::network(&file, arguments.model.as_deref())?;
    let model = network.model();
    let dataset = Dataset::load(arguments.data.as_deref())?;
    // What no run has noted is as it would be for one that learned these images.
    let (batch, image, normalization, step) = match file.about() {
        Some(about) => (about.batch, about.image, about.normalization, Some(about.step)),
        None => {
            let test = &dataset.test;
            (BATCH, [test.height, test.width, test.channels], Normalization::of(&dataset.train), None)
        }
    };
    let [height, width, channels] = image;
    let mut parameters = Parameters::new();
    let graph = evaluation(model, &mut parameters, [batch, height, width, channels])?;
    file.check(model.name(), &parameters)?;
    let (machine, evaluator) = Machine::prepare(&arguments.machine, |machine| {
        let layout = Layout::of(&[&graph], machine.device.capabilities().offset_alignment)?;
        let homes = Homes::new(&machine.device, &layout)?;
        file.load(&homes, model.name(), &parameters)?;
        Ok(Evaluator::new(&machine.device, &machine.pipelines, &graph, &homes)?)
    })?;
    let accuracy = evaluator.accuracy(&dataset.test, normalization)?;
    let (percent, count) = (100.0 * accuracy, dataset.test.count());
    let (model, data, adapter) = (model.name(), &dataset.name, machine.name());
    let after = step.map_or_else(String::new, |step| format!(" after {step} steps"));
    let text = format!("{model}{after}, on {adapter}: {percent:.2} % of {count} test images right ({data})\n");
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let document = json!({
            "test_accuracy": accuracy,
            "test_images": count,
            "model": model,
            "steps": step,
            "adapter": adapter,
        });
        speak::say_json(&document)?;
    }
    Ok(())
}
