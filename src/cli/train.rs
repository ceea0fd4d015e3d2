//! `vistok train`: a model learns images from a folder, saves itself now and then, and can continue.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::data::Dataset;
use vistok::train::{Resumed, Trainer, recipe};

use super::folder::Folder;
use super::learning::{self, RecomputeArgument, kept, scaling, train};
use super::machine::{Machine, MachineArgument};
use super::{Error, interrupt, presets, score, speak};

/// The weight file in the folder of a run.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// Train a model; its weights go to DIR/model.safetensors now and then, and `--resume` continues from there.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// `embedded`, or `fashion-mnist:DIR` with the four IDX files, gzipped or not; for models that segment `scenes`, made of the
    /// embedded garments.
    #[arg(long, value_name = "DATA")]
    data: String,
    /// The folder for the weights; made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Passes over the training images; a run that is resumed must be given the same [default: what the recipe was
    /// tried with].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// The model.
    #[arg(long, value_name = "NAME", default_value = "vt-resnet-demo")]
    model: String,
    /// Where initial weights, the order of images and their augmentation come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Steps from one writing of the weights to the next [default: a pass over the training images].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Continue from the weight file in DIR, bit for bit as if the run had never been interrupted; begin where DIR has
    /// none yet.
    #[arg(long)]
    resume: bool,
    /// Compute in f16, and keep weights in f32 beside it (mixed precision).
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    recompute: RecomputeArgument,
    /// One JSON document on standard output: `test_accuracy` or `test_mean_iou`, `train_seconds`, `adapter`, `weights`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Trains.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let folder = Folder::prepare(&arguments.out)?;
    let file = folder.file(WEIGHTS);
    let dataset = Dataset::load(Some(&arguments.data))?;
    let model = presets::model(&arguments.model, dataset.train.classes)?;
    let mut settings = recipe::demo(&dataset.train, arguments.epochs, arguments.seed);
    settings.elem = learning::elem(arguments.f16);
    settings.recompute = arguments.recompute.get();
    let pass = (dataset.train.count() / settings.batch.max(1)) as u64;
    settings.checkpoint = Some((file.clone(), arguments.checkpoint_every.unwrap_or(pass)));
    let exists = file.try_exists().unwrap_or(true);
    if !arguments.resume && exists {
        let file = file.display();
        let reason = format!("{file} is there already; --resume continues it, another --out keeps it");
        return Err(Error::Refused(reason));
    }
    let stop = interrupt::stop_flag();
    // What a run took, it goes on with: other tiles would round elsewhere.
    let tiles = match arguments.resume && exists && !arguments.machine.untuned {
        true => Some(Checkpoint::open(&file)?.about().tiles.clone()),
        false => None,
    };
    let (machine, (mut trainer, resumed)) = Machine::prepare(&arguments.machine, |machine| {
        let mut device = machine.device.clone();
        tiles.clone().into_iter().for_each(|tiles| device.set_choices(tiles));
        let (device, pipelines) = (&device, &machine.pipelines);
        let mut trainer = Trainer::new(device, pipelines, &*model, &dataset.train, settings.clone())?;
        let resumed = if arguments.resume && exists { Some(trainer.resume(&file)?) } else { None };
        Ok((trainer, resumed))
    })?;
    let (name, data, adapter) = (model.name(), &dataset.name, machine.name());
    speak::note(&format!("{name} on {adapter}: {} images of {data}", dataset.train.count()));
    if arguments.resume {
        speak::note(&from(resumed, &trainer));
    }
    let course = train(&mut trainer, &dataset.train, (&settings, stop), &kept(&file, "--resume"))?;
    let score = trainer.score(&dataset.test)?;
    let seconds = course.seconds;
    let text = format!(
        "{} after {} steps, {seconds:.1} s; weights: {}\n",
        score::said(&score, dataset.test.count()),
        trainer.about().step,
        file.display(),
    ) + &scaling(&trainer)?;
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let weights = file.display().to_string();
        let mut document = json!({ "train_seconds": seconds, "adapter": adapter, "weights": weights });
        score::tell(&score, &mut document);
        speak::say_json(&document)?;
    }
    Ok(())
}

/// Where a run that may continue begins.
fn from(resumed: Option<Resumed>, trainer: &Trainer) -> String {
    let step = trainer.about().step;
    match resumed {
        None => "beginning: there is no weight file yet".to_owned(),
        Some(Resumed::Exactly) => format!("continuing after step {step}"),
        Some(Resumed::Elsewhere { there, here }) => format!(
            "continuing after step {step}, but rounded in other places than before: it was computed on {there}, and this \
             is {here}"
        ),
    }
}
