//! `vistok eval`: the accuracy of weights that a training run has written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::gpu::Homes;
use vistok::models::Parameters;
use vistok::plan::Layout;
use vistok::train::Evaluator;
use vistok::train::checkpoint::{Checkpoint, Which};
use vistok::train::data::Dataset;
use vistok::train::step::evaluation;

use super::machine::{Machine, MachineArgument};
use super::{Error, speak};

/// Evaluate weights that `demo` or `train` has written, on test images.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The weight file (safetensors).
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// `embedded` or `fashion-mnist:DIR`, the folder with the four IDX files [default: embedded].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// One JSON document on standard output: `test_accuracy`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Evaluates.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let file = Checkpoint::open(&arguments.weights)?;
    let about = file.about().clone();
    let network = about.network()?;
    let dataset = Dataset::load(arguments.data.as_deref())?;
    let [height, width, channels] = about.image;
    let graph = evaluation(network.model(), &mut Parameters::new(), [about.batch, height, width, channels])?;
    let (machine, evaluator) = Machine::prepare(&arguments.machine, |machine| {
        let layout = Layout::of(&[&graph], machine.device.capabilities().offset_alignment)?;
        let homes = Homes::new(&machine.device, &layout)?;
        file.load(&homes, Which::Weights)?;
        Ok(Evaluator::new(&machine.device, &machine.pipelines, &graph, &homes)?)
    })?;
    let accuracy = evaluator.accuracy(&dataset.test, about.normalization)?;
    let (percent, count) = (100.0 * accuracy, dataset.test.count());
    let step = about.step;
    let (model, data, adapter) = (&about.model, &dataset.name, machine.name());
    let text =
        format!("{model} after {step} steps, on {adapter}: {percent:.2} % of {count} test images right ({data})\n");
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
