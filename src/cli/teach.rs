//! `vistok teach`: what a network says of each training image, written down for those that learn of it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::models::Target;
use vistok::train::LogitsFile;
use vistok::train::weights::WeightsError;

use super::corrupt::CorruptArgument;
use super::eval::Shown;
use super::machine::MachineArgument;
use super::{Error, sight, speak};

/// Write down what a network says of each training image, for `train --distillation --teacher`: it is asked once then, and not in every
/// step, but says nothing of how an image looks mirrored or moved.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Its weights (safetensors): those that `demo` or `train` has written, or PyTorch's under torchvision's names.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The model [default: what the weights say, or the only one that has such tensors].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// `embedded`, `fashion-mnist:DIR`, `cifar:DIR`, `folder:DIR` or `shards:DIR` (see `train`) [default: embedded].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Take the weights themselves, where the file has moving averages of them, too (`train --ema`) [default: the averages].
    #[arg(long)]
    raw: bool,
    /// What to write: safetensors, `logits` f32 [images, classes].
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON document on standard output: `images`, `classes`, `file`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Asks it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let file = sight::weights(&arguments.weights, arguments.raw)?;
    let network = sight::network(&file, arguments.model.as_deref())?;
    let model = network.model();
    if model.target() != Target::Images {
        let problem = format!(
            "{} tells a class of every pixel: give --weights of a network that classifies images",
            model.name()
        );
        return Err(WeightsError::Teacher { file: arguments.weights.display().to_string(), problem }.into());
    }
    let shown = Shown::open((&file, model), arguments.data.as_deref(), &CorruptArgument::REFUSE, true)?;
    // Before anything is computed, so that a place that cannot be written to is told of at once.
    let mut logits = LogitsFile::begin(&arguments.out, &*shown.images, model.classes())?;
    let (machine, evaluator) = shown.evaluator((&file, model), &arguments.machine, "asking")?;
    evaluator.logits(&*shown.images, shown.normalization, |rows| Ok(logits.write(rows)?))?;
    drop(evaluator);
    logits.finish(&*shown.images)?;
    let (images, classes, out) = (shown.images.count(), model.classes(), arguments.out.display().to_string());
    let (name, adapter) = (model.name(), machine.name());
    let told = format!("{out}: what {name} says of {images} images ({}), on {adapter}\n", shown.data);
    speak::report(arguments.json, &told)?;
    if arguments.json {
        speak::say_json(
            &json!({ "file": out, "model": name, "images": images, "classes": classes, "adapter": adapter }),
        )?;
    }
    Ok(())
}
