//! `vistok classify`: what pictures show.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use vistok::infer::{Classifier, Seen, Wanted};

use super::machine::Machine;
use super::progress::Progress;
use super::sight::{Sight, SightArgument, view};
use super::{Error, error, speak};

/// Say what pictures show: the likeliest classes of each, and their probabilities.
///
/// An image is seen as torchvision's evaluation transform sees it. One that cannot be read is named, the others are still
/// classified, and the exit status is not 0.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Images, PNG or JPEG.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    sight: SightArgument,
    /// A text file with the classes' names, one a line, in the order of the classifier.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How many classes of an image are told.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Images that are seen at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// One JSON document on standard output: `model`, `adapter`, `images` with the `classes` of each, `failed`.
    #[arg(long)]
    json: bool,
}

/// What came of the images.
#[derive(Default)]
struct Results {
    images: Vec<Value>,
    failed: Vec<Value>,
}

/// Classifies.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let Sight { weights, network, transform } = arguments.sight.prepare()?;
    let labels = arguments.labels.as_deref().map(|file| labels(file, network.model().classes())).transpose()?;
    let batch = usize::from(arguments.batch).min(arguments.images.len());
    let (machine, classifier) = Machine::prepare(&arguments.sight.machine, |machine| {
        let on = (&machine.device, &machine.pipelines);
        Ok(Classifier::new(on, (&network, &weights), (batch, transform.image()), Wanted::Classes)?)
    })?;
    // Of one batch there is nothing to tell.
    let many = arguments.images.len() > batch;
    let progress = many.then(|| Progress::new("images", 0, arguments.images.len() as u64));
    let mut results = Results::default();
    for files in arguments.images.chunks(batch) {
        let (mut seen, mut numbers) = (Vec::new(), Vec::new());
        for file in files {
            match view(file, &transform) {
                Ok(view) => {
                    numbers.extend(transform.numbers(&view));
                    seen.push(file);
                }
                Err(error) => results.fail(file, &error),
            }
        }
        // A batch of which no image could be read says nothing.
        let found = if seen.is_empty() { Vec::new() } else { classifier.see(&numbers)? };
        for (file, found) in seen.into_iter().zip(found) {
            let (text, document) = told(file, &found, labels.as_deref(), arguments.top.into());
            results.images.push(document);
            if !arguments.json {
                speak::say(&text)?;
            }
        }
        let done = results.images.len() + results.failed.len();
        progress.iter().for_each(|progress| progress.at(done as u64, ""));
    }
    progress.iter().for_each(Progress::finish);
    let (failed, all) = (results.failed.len(), arguments.images.len());
    if arguments.json {
        let (model, adapter) = (network.model().name(), machine.name());
        let Results { images, failed } = results;
        speak::say_json(&json!({ "model": model, "adapter": adapter, "images": images, "failed": failed }))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::Refused(format!("{failed} of {all} images could not be read; the lines above say why"))),
    }
}

impl Results {
    /// An image that could not be read is named at once.
    fn fail(&mut self, file: &Path, error: &Error) {
        let error = error::one_line(error);
        speak::note(&format!("not classified: {error}"));
        self.failed.push(json!({ "file": file.display().to_string(), "error": error }));
    }
}

/// An image's classes for people and for programs.
fn told(file: &Path, seen: &Seen, labels: Option<&[String]>, top: usize) -> (String, Value) {
    let file = file.display().to_string();
    let (mut text, mut classes) = (format!("{file}\n"), Vec::new());
    for ranked in seen.best(top) {
        let (class, probability) = (ranked.class, ranked.probability);
        let label = labels.map(|labels| labels[class].as_str());
        let number = class.to_string();
        text += &format!("  {:5.1} %  {}\n", 100.0 * probability, label.unwrap_or(&number));
        let logit = seen.logits[class];
        classes.push(json!({ "class": class, "label": label, "probability": probability, "logit": logit }));
    }
    (text, json!({ "file": file, "classes": classes }))
}

/// The most bytes of a file of labels.
const MOST: u64 = 1 << 24;

/// One name a line, as many as there are classes.
pub(super) fn labels(file: &Path, classes: usize) -> Result<Vec<String>, Error> {
    let failed = |source| {
        let remedy = "--labels takes a text file, one name a line";
        Error::File { path: file.display().to_string(), source, remedy }
    };
    if fs::metadata(file).map_err(failed)?.len() > MOST {
        return Err(Error::Refused(format!("{} is too large for a file of labels", file.display())));
    }
    let text = fs::read_to_string(file).map_err(failed)?;
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match labels.len() == classes {
        true => Ok(labels),
        false => {
            let (file, lines) = (file.display(), labels.len());
            let remedy = "one name a line, and no line more";
            Err(Error::Refused(format!("{file} has {lines} labels, and the network {classes} classes: {remedy}")))
        }
    }
}
