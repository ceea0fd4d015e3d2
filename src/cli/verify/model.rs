//! `vistok verify --model`: a whole step of training against its maths, node by node and end to end.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::graph::Source;
use vistok::kernel::Elem;
use vistok::models::{Network, Regularization};
use vistok::ops::Sgd;
use vistok::plan;
use vistok::train::step::{StepOptions, TrainingStep, training_step_with};
use vistok::train::{Distilled, Teacher};
use vistok::verify::{Cause, Divergence, OutputRow, Whole, compare_whole_telling};

use super::{Arguments, report};
use crate::cli::presets::{self, Sizes};
use crate::cli::progress::Progress;
use crate::cli::table::{Align, Table};
use crate::cli::{Error, speak};

/// Large enough for two pixels a side where the networks are deepest, since batch norm makes nothing of two numbers;
/// small enough for the CPU's side of it.
const SMALL: Sizes = Sizes { image: [48, 48, 3], classes: 10 };

/// Which model, and how large.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Instead of kernels, run a model's whole training step, such as vt-resnet-demo or resnet18: forward, loss,
    /// gradients and update. Names the first step that is wrong.
    #[arg(long, value_name = "NAME", group = "seeded", conflicts_with_all = ["filter", "quick", "full"])]
    pub(super) model: Option<String>,
    /// Images in the batch.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..), requires = "model")]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model and Fashion-MNIST's, 48x48x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = presets::image, requires = "model")]
    image: Option<[usize; 3]>,
    /// Number of classes [default: 10].
    #[arg(long, value_name = "N", requires = "model")]
    classes: Option<usize>,
    /// What images and weights are made of.
    #[arg(long, value_enum, default_value_t = Element::F32, requires = "model")]
    element: Element,
    /// Leave cooperative matrices out, even where the adapter has them.
    #[arg(long, requires = "model")]
    scalar: bool,
    /// With stochastic depth (every branch of every image times a number of its own), dropout and a teacher, another network of the same
    /// kind, in the step.
    #[arg(long, requires = "model")]
    regularized: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Element {
    F32,
    F16,
}

/// What is compared, in words that reproduce it.
struct Subject<'a> {
    name: &'a str,
    elem: Elem,
    images: [usize; 4],
    classes: usize,
    seed: u64,
    cooperative: bool,
    regularized: bool,
}

/// Compares.
pub(super) fn run(name: &str, arguments: &Arguments) -> Result<(), Error> {
    let options = &arguments.model;
    let default = presets::default(name, SMALL);
    let model = presets::model(name, options.classes.unwrap_or(default.classes))?;
    let [height, width, channels] = options.image.unwrap_or(default.image);
    let images = [options.batch as usize, height, width, channels];
    let elem = match options.element {
        Element::F32 => Elem::F32,
        Element::F16 => Elem::F16,
    };
    let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let step_options = StepOptions { elem, ..StepOptions::default() };
    let step_options = match options.regularized {
        true => StepOptions {
            regularization: Regularization { depth: Some(0.5), dropout: Some(0.2) },
            distillation: Some(teacher(name, model.classes(), [height, width, channels])?),
            ..step_options
        },
        false => step_options,
    };
    let mut step = training_step_with(&step_options, &*model, images, sgd)?;
    step.output_gradients();

    let adapter = arguments.adapter.adapter.clone();
    let device = Device::open(&OpenOptions { adapter, scalar: options.scalar, ..OpenOptions::default() })?;
    let machine = report::Machine::of(&device);
    machine.note();
    let cooperative = elem == Elem::F16 && device.capabilities().fragment.is_some();
    let (classes, seed) = (model.classes(), arguments.seed);
    let subject = Subject { name, elem, images, classes, seed, cooperative, regularized: options.regularized };
    let whole = compare(&device, &step, arguments.seed)?;
    speak::report(arguments.json, &(machine.text() + &text(&subject, &whole)))?;
    let failed = whole.outputs.iter().filter(|row| row.share > 1.0).count() + usize::from(whole.first.is_some());
    if arguments.json {
        speak::say_json(&machine.with(document(&subject, &whole, failed)))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::Failed { failed, compared: whole.values + whole.outputs.len() }),
    }
}

/// A teacher of the same kind; its numbers are drawn as all others are.
fn teacher(name: &str, classes: usize, image: [usize; 3]) -> Result<Distilled, Error> {
    let teacher = Teacher::of(Network::named(name, classes)?, image, None, |known| Ok(known.initial(0)))?;
    Ok(Distilled { share: 0.8, temperature: 2.0, teacher: Arc::new(teacher) })
}

fn compare(device: &Device, step: &TrainingStep, seed: u64) -> Result<Whole, Error> {
    let leaf = |value, source: &Source| step.sample(value, source, seed);
    let mut progress: Option<Progress> = None;
    let whole = compare_whole_telling(
        device,
        &Pipelines::new(device, None),
        &step.graph,
        (&leaf, plan::Options::default()),
        &mut |done, of| {
            let progress = progress.get_or_insert_with(|| Progress::new("verifying", 0, of as u64));
            progress.at(done as u64, "node by node");
        },
    );
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(whole?)
}

/// A line for every kind of result, the worst of the kind in it; and what is wrong.
fn text(subject: &Subject<'_>, whole: &Whole) -> String {
    let Subject { name, elem, images: [batch, height, width, channels], classes, seed, .. } = subject;
    let mut text = format!(
        "{name}, {elem}, {batch} images of {height}x{width}x{channels}, {classes} classes, seed {seed}, {}{}\n",
        engine(subject),
        if subject.regularized { ", regularized" } else { "" }
    );
    let Whole { nodes, of, values, worst, .. } = whole;
    text += &format!(
        "{nodes} of {of} nodes run and compared, {values} values; the worst takes {} of what is allowed\n\n",
        percent(*worst)
    );
    let left = |head| (head, Align::Left);
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        left("left by the whole run"),
        right("compared"),
        right("worst"),
        right("error"),
        right("allowed"),
        left("result"),
        left("worst in"),
    ]);
    let mut rows: Vec<&OutputRow> = whole.outputs.iter().collect();
    // Stable: in the order of the run.
    rows.sort_by_key(|row| kind(row).0);
    for kind in rows.chunk_by(|one, other| kind(one).0 == kind(other).0) {
        let Some(worst) = kind.iter().max_by(|one, other| one.share.total_cmp(&other.share)) else { continue };
        let failed = kind.iter().filter(|row| row.share > 1.0).count();
        let (kind_name, name) = self::kind(worst);
        table.row(vec![
            kind_name.to_owned(),
            kind.len().to_string(),
            percent(worst.share),
            format!("{:.1e}", worst.error),
            format!("{:.1e}", worst.allowed),
            if failed == 0 { "passed".to_owned() } else { format!("{failed} FAILED") },
            name.to_owned(),
        ]);
    }
    text += &table.text();
    match whole.fault() {
        Some(fault) => text += &format!("\nFAILED {fault}\n"),
        None => text += "\npassed\n",
    }
    text
}

/// A share; how often a wrong number is over what is allowed does not matter.
fn percent(share: f64) -> String {
    if share < 10.0 { format!("{:.0} %", 100.0 * share) } else { "> 999 %".to_owned() }
}

/// `gradient stem/conv/weight` → `gradient`, `stem/conv/weight`.
fn kind(row: &OutputRow) -> (&str, &str) {
    row.name.split_once(' ').unwrap_or((&row.name, ""))
}

fn engine(subject: &Subject<'_>) -> &'static str {
    if subject.cooperative { "cooperative" } else { "scalar" }
}

fn document(subject: &Subject<'_>, whole: &Whole, failed: usize) -> Value {
    let status = |passed: bool| if passed { "passed" } else { "failed" };
    let row = |row: &OutputRow| {
        json!({
            "name": row.name,
            "error": row.error,
            "allowed": row.allowed,
            "status": status(row.share <= 1.0),
        })
    };
    json!({
        "model": subject.name,
        "element": subject.elem.to_string(),
        "images": subject.images,
        "classes": subject.classes,
        "seed": subject.seed,
        "engine": engine(subject),
        "regularized": subject.regularized,
        "nodes": whole.nodes,
        "nodes_of_the_plan": whole.of,
        "compared": whole.values,
        "worst": whole.worst,
        "outputs": whole.outputs.iter().map(row).collect::<Vec<_>>(),
        "first_divergent_step": whole.first.as_ref().map(divergence),
        "ok": whole.passed(),
        "failed": failed,
        "reason": whole.fault(),
    })
}

fn divergence(first: &Divergence) -> Value {
    let places = first.places.iter();
    let places = places.map(|place| json!({ "index": place.index, "found": place.found, "true": place.truth }));
    let worst = first.places.first();
    json!({
        "step": first.step,
        "kernel": first.kernel,
        "kernels": first.kernels,
        "op": first.op,
        "scope": first.scope,
        "cause": match first.cause {
            Cause::Maths => "maths",
            Cause::Overwrites => "overwrites",
            Cause::Together => "together",
        },
        "shapes": first.inputs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "what": first.what,
        "tensor": first.tensor.to_string(),
        "index": worst.map(|place| &place.index),
        "found": worst.map(|place| place.found),
        "true": worst.map(|place| place.truth),
        "error": first.error,
        "allowed": first.allowed,
        "places": places.collect::<Vec<_>>(),
    })
}
