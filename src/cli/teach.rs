//! `vistok teach`: what a network says of each training image, written down for those that learn of it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::models::Target;
use vistok::train::LogitsFile;
use vistok::train::weights::WeightsError;

use super::corrupt::CorruptArgument;
use super::shown::{Part, ShownArgument};
use super::{Error, speak};

/// Write down what a network says of each training image, for `train --distillation --teacher`: it is asked once then, and not in every
/// step, but says nothing of how an image looks mirrored or moved.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    shown: ShownArgument,
    /// What to write: safetensors, `logits` f32 [images, classes].
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON document on standard output: `images`, `classes`, `file`.
    #[arg(long)]
    json: bool,
}

/// Asks it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let (file, network) = arguments.shown.network()?;
    let model = network.model();
    if model.target() != Target::Images {
        let problem = format!(
            "{} tells a class of every pixel: give --weights of a network that classifies images",
            model.name()
        );
        return Err(WeightsError::Teacher { file: arguments.shown.weights.display().to_string(), problem }.into());
    }
    let shown = arguments.shown.images((&file, model), &CorruptArgument::REFUSE, Part::Train)?;
    // Before anything is computed, so that a place that cannot be written to is told of at once.
    let mut logits = LogitsFile::begin(&arguments.out, &*shown.images, model.classes())?;
    let (machine, evaluator) = shown.evaluator((&file, model), "asking")?;
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
