//! `vistok train`: a model learns images from a folder, saves itself now and then, and can continue.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use vistok::models::{Model, Network, Target};
use vistok::train::checkpoint::Checkpoint;
use vistok::train::data::Source;
use vistok::train::{Resumed, Split, Trainer, View, best_file};

use super::corrupt::{self, CorruptArgument};
use super::folder::Folder;
use super::learning::{self, Pace, RecomputeArgument, Watch, kept, scaling, train};
use super::log::{Log, Measure, Stand};
use super::machine::{Machine, MachineArgument};
use super::optimizer::OptimizerArgument;
use super::options::OptionsArgument;
use super::recipe::{RecipeArgument, told};
use super::result::{Ended, ResultArgument};
use super::{Error, interrupt, presets, score, speak};

/// The weight file in the folder of a run.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// Train a model; its weights go to DIR/model.safetensors now and then, and `--resume` continues from there.
///
/// DIR also receives the log of the run: `steps.csv` with loss and learning rate of every step, `epochs.csv` with the mean loss of every
/// pass and what the test images say after it; seconds are those of training. `vistok plot` and `vistok report` read them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// `embedded`, `fashion-mnist:DIR` with the four IDX files, gzipped or not, `cifar:DIR` with the binary files of CIFAR-10 or 100,
    /// `folder:DIR` or `shards:DIR`; for models that segment `scenes`, made of the embedded garments, or `folder:DIR`.
    ///
    /// A folder for models that classify has pictures (PNG, JPEG) in `train/CLASS` and `test/CLASS` or `val/CLASS`.
    /// One for models that segment has `classes.txt`, a name a line; pictures in `train/images` and `test/images`; and of each in
    /// `train/masks` or `test/masks` a gray or indexed PNG of its name and size, whose numbers are classes, and 255 none.
    /// Shards are tar files, `train-*.tar` and `test-*.tar` or `val-*.tar`, with `KEY.jpg` (or jpeg, png) and `KEY.cls`, a number, for
    /// each picture; `classes.txt` beside them may name the classes.
    #[arg(long, value_name = "DATA")]
    data: String,
    /// What to learn [default: what the model does].
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Height and width of what the network sees of a picture in a folder or shard [default: 224x224; 512x512 for models that segment,
    /// 96x96 for the small ones, 28x28 for the demo's].
    #[arg(long, value_name = "HxW", value_parser = presets::size)]
    size: Option<[usize; 2]>,
    /// Two numbers between which one is drawn each time that a picture in a folder or shard is seen. To classify, a part with so much
    /// of its area is cut out [default: 0.08:1]; to segment, its shorter side becomes so many times that of --size, 0.1 to 10, and then
    /// a part is cut out [default: 0.5:2].
    #[arg(long, value_name = "LEAST:MOST", value_parser = scale)]
    scale: Option<[f64; 2]>,
    #[command(flatten)]
    corrupt: CorruptArgument,
    #[command(flatten)]
    recipe: RecipeArgument,
    #[command(flatten)]
    optimizer: OptimizerArgument,
    /// The folder for the weights; made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model [default: vt-resnet-demo; vt-fpn-small for scenes, folders and --task segment].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    options: OptionsArgument,
    /// Where initial weights, the order of images and their augmentation come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Steps from one writing of the weights to the next [default: a pass over the training images].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// How many checkpoints are kept, the newest among them: older ones stand beside it as model-000400.safetensors, after their steps.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Keep the weights of the pass that scored best, too, with their score, in DIR/model-best.safetensors.
    #[arg(long)]
    best: bool,
    /// Passes from one scoring of the test images to the next; 0 scores them at the end alone, as does the last pass always.
    #[arg(long, value_name = "N", default_value_t = 1)]
    score_every: u64,
    /// Write event files for TensorBoard, too, to DIR/tensorboard.
    #[arg(long)]
    tensorboard: bool,
    /// Continue from the weight file in DIR, bit for bit as if the run had never been interrupted; begin where DIR has
    /// none yet.
    #[arg(long)]
    resume: bool,
    /// Compute in f16, and keep weights in f32 beside it (mixed precision).
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    recompute: RecomputeArgument,
    #[command(flatten)]
    result: ResultArgument,
    /// One JSON document on standard output: `test_accuracy` or `test_mean_iou`, `train_seconds`, `adapter`, `weights`,
    /// `best` (its `score` and `step`, null where none is kept), `skipped_images` (of those to train on, and of those to test on).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// What a model tells the class of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Of each image.
    Classify,
    /// Of each pixel.
    Segment,
}

/// Scales where --scale does not say: from a wide picture seen whole to parts of one.
const SCALE: [f64; 2] = [0.5, 2.0];
/// The same where a part of a picture is classified: torchvision's.
const AREA: [f64; 2] = [0.08, 1.0];

/// Two numbers with a colon between them.
fn scale(text: &str) -> Result<[f64; 2], String> {
    let two = text.split_once(':').and_then(|(least, most)| Some([least.parse().ok()?, most.parse().ok()?]));
    two.ok_or_else(|| "a scale is two numbers, such as 0.75:2".to_owned())
}

impl Arguments {
    fn model(&self, source: &Source) -> &str {
        let segmented = matches!(source, Source::Folder(_) | Source::Scenes).then_some(Task::Segment);
        let usual = if self.task.or(segmented) == Some(Task::Segment) { "vt-fpn-small" } else { "vt-resnet-demo" };
        self.model.as_deref().unwrap_or(usual)
    }

    /// The images, as the model is to see them.
    fn split(&self, source: &Source) -> Result<Split, Error> {
        let in_files = matches!(source, Source::Folder(_) | Source::Shards(_));
        if !in_files && (self.size.is_some() || self.scale.is_some()) {
            let reason =
                "--size and --scale are for pictures in files (--data folder:DIR, shards:DIR); these have one size";
            return Err(Error::Refused(reason.to_owned()));
        }
        if in_files && self.recipe.shift.is_some_and(|shift| shift > 0) {
            let reason = "--shift is for images of one size; of pictures in files (--data folder:DIR, shards:DIR) --scale moves the part that is seen";
            return Err(Error::Refused(reason.to_owned()));
        }
        // How many classes there are, the images say.
        let target = Network::named(self.model(source), 2)?.model().target();
        let size = self.size.unwrap_or_else(|| presets::view(self.model(source), target));
        let scale = self.scale.unwrap_or(if target == Target::Pixels { SCALE } else { AREA });
        let Split { train, test, name } = Split::open(source, target, View { size, scale })?;
        Ok(Split { train: self.corrupt.applied(train), test: self.corrupt.applied(test), name })
    }

    /// The model, which does what it is to learn.
    fn network(&self, source: &Source, classes: usize) -> Result<Box<dyn Model>, Error> {
        let model = self.options.applied(Network::named(self.model(source), classes)?)?.into_model();
        let does = if model.target() == Target::Pixels { Task::Segment } else { Task::Classify };
        match self.task {
            Some(task) if task != does => {
                let [name, asked] = [model.name().to_owned(), format!("{task:?}").to_lowercase()];
                Err(Error::Refused(format!("{name} does not {asked}: give a --model that does, or another --task")))
            }
            _ => Ok(model),
        }
    }
}

/// Trains.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let folder = Folder::prepare(&arguments.out)?;
    arguments.result.probe()?;
    let file = folder.file(WEIGHTS);
    let source: Source = arguments.data.parse()?;
    let Split { train: images, test, name: data } = arguments.split(&source)?;
    let model = arguments.network(&source, images.classes())?;
    let mut recipe = arguments.recipe.get(&*images);
    arguments.optimizer.apply(&mut recipe, arguments.recipe.rate.is_some());
    let mut settings = recipe.taught(&*images, arguments.seed, arguments.recipe.teacher()?)?;
    settings.elem = learning::elem(arguments.f16);
    settings.recompute = arguments.recompute.get();
    let pass = learning::steps_of_pass(&*images, &settings);
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
        let mut trainer = Trainer::new(device, pipelines, &*model, &*images, settings.clone())?;
        trainer.keep_last(arguments.keep as usize);
        let resumed = if arguments.resume && exists { Some(trainer.resume(&file)?) } else { None };
        Ok((trainer, resumed))
    })?;
    let (name, adapter) = (model.name(), machine.name());
    speak::note(&format!("{name} on {adapter}: {} images of {data}", images.count()));
    speak::note(told(&recipe).trim_end());
    if arguments.resume {
        speak::note(&from(resumed, &trainer));
    }
    let measure = if model.target() == Target::Pixels { Measure::MeanIou } else { Measure::Accuracy };
    let at = Stand { step: trainer.about().step, pass };
    let log = Log::open(&folder, measure, at, arguments.tensorboard)?;
    let watch = Watch { log, test: &*test, every: arguments.score_every, best: arguments.best };
    let course = train(&mut trainer, &*images, (&settings, stop), &kept(&file, "--resume"), Some(watch))?;
    let pace = Pace::of(&machine, &trainer, &course, &settings)?;
    let score = course.score.map_or_else(|| trainer.score(&*test), Ok)?;
    let (machine, trainer, model, images) = (&machine, &trainer, &*model, (&*images, &*test, &data[..]));
    let (settings, recipe) = (&settings, &recipe);
    let ended = Ended { machine, trainer, model, settings, recipe, images, score: &score, measure, pace };
    arguments.result.write(&folder, &ended)?;
    tell(arguments.json, &ended, course.seconds, &file)
}

/// Says how a run went.
fn tell(in_json: bool, ended: &Ended<'_>, seconds: f64, file: &Path) -> Result<(), Error> {
    let Ended { machine, trainer, images: (images, test, _), score, pace, .. } = ended;
    let text = corrupt::said(&[("training", *images), ("test", *test)])
        + &format!(
            "{} after {} steps, {seconds:.1} s; weights: {}\n",
            score::said(score, test.count() - test.skipped()),
            trainer.about().step,
            file.display(),
        )
        + &trainer.best().map_or_else(String::new, |(best, step)| {
            format!("Best after {step} steps, {:.2} %: {}\n", 100.0 * best, best_file(file).display())
        })
        + &scaling(trainer)?
        + &pace.map_or_else(String::new, |pace| pace.said());
    speak::report(in_json, &text)?;
    if in_json {
        let weights = file.display().to_string();
        let mut document = json!({ "train_seconds": seconds, "adapter": machine.name(), "weights": weights });
        score::tell(score, &mut document);
        document["best"] = json!(trainer.best().map(|(score, step)| json!({ "score": score, "step": step })));
        document["skipped_images"] = json!([images.skipped(), test.skipped()]);
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
