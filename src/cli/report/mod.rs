//! `vistok report`: one page about a run: how it went, what it mistakes for what, where it looks, and where the time goes.

mod page;
mod seen;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use vistok::bench::{ModelSubject, Task};
use vistok::kernel::Elem;
use vistok::models::{Model, Target};
use vistok::train::checkpoint::About;
use vistok::train::data::{FASHION_MNIST_CLASSES, Source};
use vistok::train::files::replace;
use vistok::train::weights::Weights;
use vistok::train::{Evaluator, Optimizer, Samples, Score, Segmented, Split, View, masked, pictures};

use super::classify::labels;
use super::eval::{Evaluation, usual_source};
use super::learning;
use super::log::{Run, RunArgument};
use super::machine::{Machine, MachineArgument};
use super::plot::By;
use super::train::WEIGHTS;
use super::{Error, error, picture, sight, speak};
use page::Page;
use seen::Sample;

/// Write one HTML page about a run of `vistok train`: settings, curves, what test images are taken for, sample images with what visual
/// tokens look at, and the GPU time of a training step by kernel.
///
/// The page needs no other file and no network. The weights do not hold the test images: give the same --data as to `train`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of the run, called as it is, or as NAME says.
    #[arg(value_name = "[NAME=]RUN", value_parser = RunArgument::parse)]
    run: RunArgument,
    /// The HTML file that is written.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// The test images' source, as `eval` takes it [default: embedded, scenes for models that segment].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// A text file with the classes' names, one a line [default: those that the data are known to have].
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// One JSON document on standard output: `written`, and `confusion` as a list for each class, or `iou` by class.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// What the test images are taken for.
enum Mistakes {
    /// For each class, how many of its images were taken for each.
    Images(Vec<Vec<u64>>),
    Pixels(Segmented),
}

/// Reads, evaluates, writes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let log = Run::open(&arguments.run)?;
    let path = arguments.run.dir.join(WEIGHTS);
    let file = Weights::open(&path)?;
    let foreign = || Error::Refused(format!("{} does not say what run it is of: was it exported?", path.display()));
    let about = file.about().ok_or_else(foreign)?.clone();
    let network = sight::network(&file, None)?;
    let model = network.model();
    let source = arguments.data.as_deref().map_or_else(|| Ok(usual_source(model)), str::parse)?;
    let [height, width, channels] = about.image;
    let view = View { size: [height, width], scale: [1.0; 2] };
    let (test, data) = Split::open_test(&source, model.target(), view)?;
    let names = class_names(arguments.labels.as_deref(), (&source, model.target()), about.classes)?;
    let evaluation = Evaluation::of((model, &file), [about.batch, height, width, channels])?;
    let (machine, evaluator) = Machine::prepare(&arguments.machine, |machine| evaluation.on(machine))?;
    let mistakes = Mistakes::of(&evaluator, &*test, &about)?;
    let samples = Sample::all(&machine, (&network, &file), (&*test, &about))?;
    // What takes most memory comes last: without it the page is still worth its while.
    let times = times(&machine, model, &about).map_err(|error| error::one_line(&error));
    let page = Page {
        curves: picture::run_curves(std::slice::from_ref(&log), By::Step)?,
        log: &log,
        about: &about,
        test: (&data, test.count()),
        names: &names,
        mistakes: &mistakes,
        samples: &samples,
        times: &times,
        adapter: machine.name(),
    };
    let written = arguments.out.display().to_string();
    replace(&arguments.out, page.html().as_bytes()).map_err(|source| {
        let remedy = "--out must name a file in a folder that you may write to";
        Error::File { path: written.clone(), source, remedy }
    })?;
    speak::report(arguments.json, &format!("{written}: {} after {} steps\n", log.name, about.step))?;
    if arguments.json {
        let mut document = json!({ "written": written, "model": about.model, "steps": about.step });
        match &mistakes {
            Mistakes::Images(confusion) => document["confusion"] = json!(confusion),
            Mistakes::Pixels(segmented) => document["iou"] = json!(segmented.iou),
        }
        speak::say_json(&document)?;
    }
    Ok(())
}

/// What classes are called, as far as that is known.
fn class_names(file: Option<&Path>, (source, target): (&Source, Target), classes: usize) -> Result<Vec<String>, Error> {
    if let Some(file) = file {
        return labels(file, classes);
    }
    let known: Vec<String> = match source {
        Source::Embedded | Source::FashionMnist(_) => FASHION_MNIST_CLASSES.map(str::to_owned).to_vec(),
        Source::Scenes => ["background"].into_iter().chain(FASHION_MNIST_CLASSES).map(str::to_owned).collect(),
        Source::Folder(dir) if target == Target::Pixels => masked::classes(dir)?,
        Source::Folder(dir) => pictures::class_names(dir)?,
        Source::Cifar(_) | Source::Shards(_) => Vec::new(),
    };
    let name = |class: usize| known.get(class).cloned().unwrap_or_else(|| class.to_string());
    Ok((0..classes).map(name).collect())
}

impl Mistakes {
    fn of(evaluator: &Evaluator, test: &dyn Samples, about: &About) -> Result<Self, Error> {
        if test.target() == Target::Pixels
            && let Score::Pixels(segmented) = evaluator.score(test, about.normalization)?
        {
            return Ok(Self::Pixels(segmented));
        }
        let found = evaluator.predictions(test, about.normalization)?;
        let mut confusion = vec![vec![0; about.classes]; about.classes];
        for (index, found) in found.into_iter().enumerate() {
            let (_, labels) = seen::sample(test, index)?;
            confusion[labels[0] as usize][found] += 1;
        }
        Ok(Self::Images(confusion))
    }
}

/// GPU milliseconds of a training step of the run's own optimizer and precision by kernel; nothing where the device has no timestamps.
fn times(machine: &Machine, model: &dyn Model, about: &About) -> Result<Option<learning::Times>, Error> {
    if !machine.device.has_timestamps() {
        return Ok(None);
    }
    let [height, width, channels] = about.image;
    let elem = if about.recipe.contains(" mixed precision") { Elem::F16 } else { Elem::F32 };
    let images = [about.batch, height, width, channels];
    let subject = ModelSubject { model, images, elem, task: Task::Training };
    let (device, pipelines) = (&machine.device, &machine.pipelines);
    let (_, executor) = match Optimizer::noted(&about.recipe) {
        Some(optimizer) => subject.prepare_update(device, pipelines, optimizer)?,
        None => subject.prepare(device, pipelines)?,
    };
    Ok(Some(learning::timed(&executor)?))
}
