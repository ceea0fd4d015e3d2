//! `vistok demo`: the small VT-ResNet learns to tell clothes apart, and shows how it went and what it looks at.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use vistok::models::{Model, VtResNet};
use vistok::train::baseline::linear_baseline;
use vistok::train::data::Dataset;
use vistok::train::recipe::{self, Otherwise};
use vistok::train::{Settings, Trainer};

use super::folder::Folder;
use super::learning::{self, Course, RecomputeArgument, scaling, time_table, times, train};
use super::machine::{Machine, MachineArgument};
use super::train::WEIGHTS;
use super::{Error, interrupt, scenes, speak};

/// Train a small VT-ResNet on the images that this program carries, and show what its visual tokens look at.
///
/// DIR receives `loss.svg`, `tokens.png` (where each visual token looks, for some test images) and
/// `model.safetensors`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder for results; made where it is not there.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Train a narrow FPN and a narrow VT-FPN instead, on scenes of several garments, whose pixels they tell apart.
    ///
    /// DIR receives `scenes.png` (test scenes, their classes, what both networks take them for, where visual tokens look), and of each
    /// network the weights and `loss.svg`.
    #[arg(long)]
    segment: bool,
    /// Passes over the training images [default: what the recipe was tried with].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) epochs: Option<u64>,
    /// Train on the first N images only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Where initial weights, the order of images and their augmentation come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Compute in f16, and keep weights in f32 beside it (mixed precision).
    #[arg(long)]
    pub(super) f16: bool,
    #[command(flatten)]
    pub(super) recompute: RecomputeArgument,
    /// One JSON document on standard output: `test_accuracy`, `baseline_accuracy`, `train_seconds`, `adapter`, and
    /// `gpu_ms_by_kernel` of one training step; with --segment of each network `test_mean_iou`, `macs` and more.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) machine: MachineArgument,
}

impl Arguments {
    /// What of the recipe is to be otherwise.
    pub(super) fn otherwise(&self) -> Otherwise {
        Otherwise { epochs: self.epochs, ..Otherwise::default() }
    }

    /// How many images are trained on, if not all.
    pub(super) fn images(&self) -> Option<usize> {
        self.images.map(|images| images as usize)
    }
}

/// Trains, evaluates, draws.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    if arguments.segment {
        return scenes::run(arguments);
    }
    let folder = Folder::prepare(&arguments.out)?;
    let dataset = Dataset::embedded()?.with_first(arguments.images());
    let model = VtResNet::demo(dataset.train.classes);
    let mut settings = recipe::demo(&dataset.train, &arguments.otherwise(), arguments.seed);
    settings.elem = learning::elem(arguments.f16);
    settings.recompute = arguments.recompute.get();
    let stop = interrupt::stop_flag();
    let (machine, mut trainer) = Machine::prepare(&arguments.machine, |machine| {
        let (device, pipelines) = (&machine.device, &machine.pipelines);
        Ok(Trainer::new(device, pipelines, &model, &dataset.train, settings.clone())?)
    })?;
    let (name, numbers) = (model.name(), trainer.parameters().count(true));
    let (count, data) = (dataset.train.count(), &dataset.name);
    let adapter = machine.name();
    speak::note(&format!("{name}, {numbers} parameters, on {adapter}; {count} training images ({data})"));
    let course = train(&mut trainer, &dataset.train, (&settings, stop), "nothing was written", None)?;
    let accuracy = trainer.accuracy(&dataset.test)?;
    let weights = folder.file(WEIGHTS);
    trainer.save(&weights)?;
    let mut files = draw(&machine, &trainer, (&model, &dataset), &course, &folder)?;
    files.push(weights);
    let baseline = linear_baseline(&dataset.train, &dataset.test, arguments.seed)?;
    let times = times(&machine, &trainer)?;

    let mut text = summary(&settings, &course, [accuracy, baseline], dataset.test.count()) + &scaling(&trainer)?;
    match &times {
        Some(times) => text += &format!("\nGPU time of one training step, by kernel\n\n{}", time_table(times)),
        None => text += "\nThis adapter has no timestamps, so GPU time by kernel is unknown.\n",
    }
    text += "\nWritten:\n";
    text.extend(files.iter().map(|file| format!("  {}\n", file.display())));
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let by_kernel: Map<String, Value> =
            times.iter().flatten().map(|(time, milliseconds)| (time.kernel.to_owned(), json!(milliseconds))).collect();
        let document = json!({
            "test_accuracy": accuracy,
            "baseline_accuracy": baseline,
            "train_seconds": course.seconds,
            "adapter": adapter,
            "gpu_ms_by_kernel": by_kernel,
        });
        speak::say_json(&document)?;
    }
    Ok(())
}

fn summary(settings: &Settings, course: &Course, [accuracy, baseline]: [f64; 2], images: usize) -> String {
    let trained = course.losses.len() * settings.images_of_step();
    let (seconds, rate) = (course.seconds, trained as f64 / course.seconds);
    let (ours, linear) = (100.0 * accuracy, 100.0 * baseline);
    format!(
        "Trained {} steps of {} images in {seconds:.1} s ({rate:.0} images/s)\n\n\
         Right of {images} test images\n  this VT-ResNet        {ours:.1} %\n  a linear classifier   {linear:.1} %\n",
        course.losses.len(),
        settings.images_of_step(),
    )
}

#[cfg(feature = "plot")]
fn draw(
    machine: &Machine,
    trainer: &Trainer,
    (model, dataset): (&VtResNet, &Dataset),
    course: &Course,
    folder: &Folder,
) -> Result<Vec<PathBuf>, Error> {
    use super::picture;
    let loss = picture::loss_curve(&course.losses)?;
    let looks = picture::Looks::of(machine, trainer, model, &dataset.test)?;
    let tokens = picture::token_sheet(&looks)?;
    Ok(vec![folder.write("loss.svg", loss.as_bytes())?, folder.write("tokens.png", &tokens)?])
}

#[cfg(not(feature = "plot"))]
fn draw(_: &Machine, _: &Trainer, _: (&VtResNet, &Dataset), _: &Course, _: &Folder) -> Result<Vec<PathBuf>, Error> {
    speak::note("vistok: built without the feature `plot`: no pictures");
    Ok(Vec::new())
}
