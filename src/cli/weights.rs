//! `vistok weights`: what a weight file holds, and the same weights for PyTorch.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::train::weights::{Names, declared, export};

use super::{Error, sight, speak};

/// Check a weight file, and write its weights for PyTorch: under torchvision's and timm's names and in PyTorch's layouts.
///
/// What they have no name for, the parts of VT blocks, keeps ours. Every command that takes weights takes both kinds of
/// file. Nothing is computed and no adapter is needed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The weight file (safetensors): of `demo` or `train`, or PyTorch's.
    #[arg(value_name = "FILE")]
    weights: PathBuf,
    /// The model [default: what the weights say, or the only one that has such tensors].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Take the weights themselves, where the file has moving averages of them, too (`train --ema`) [default: the averages].
    #[arg(long)]
    raw: bool,
    /// The file that is written for PyTorch; without it the weights are only checked.
    #[arg(long, value_name = "FILE")]
    pytorch: Option<PathBuf>,
    /// One JSON document on standard output: `model`, `classes`, `names`, `parameters` (all trainable), `written`.
    #[arg(long)]
    json: bool,
}

/// Checks, and writes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let weights = sight::weights(&arguments.weights, arguments.raw)?;
    let network = sight::network(&weights, arguments.model.as_deref())?;
    let model = network.model();
    let parameters = declared(model, weights.image())?;
    weights.check(model.name(), &parameters)?;
    match &arguments.pytorch {
        Some(file) => export(file, &parameters, weights.about(), |parameter| weights.numbers(parameter))?,
        // Read all the same: numbers that are none are found.
        None => parameters.iter().try_for_each(|parameter| weights.numbers(parameter).map(drop))?,
    }
    let (name, classes, count) = (model.name(), model.classes(), parameters.count(true));
    let names = match weights.names() {
        Names::Ours => "ours",
        Names::PyTorch => "PyTorch's",
    };
    let written = arguments.pytorch.as_ref().map(|file| file.display().to_string());
    let file = arguments.weights.display();
    let mut text = format!("{file}: {name}, {classes} classes, {count} parameters, under {names} names\n");
    text.extend(written.iter().map(|written| format!("{written}: the same, under PyTorch's\n")));
    speak::report(arguments.json, &text)?;
    if arguments.json {
        speak::say_json(&json!({
            "model": name, "classes": classes, "names": names, "parameters": count, "written": written,
        }))?;
    }
    Ok(())
}
