//! Training on the GPU: a batch is learned by heart, a resumed run and a repeated one end in the same bits, every
//! parameter of the VT blocks takes part, and weight files that do not belong are refused.
//!
//! Without an adapter these tests are listed as ignored; with `REQUIRE_GPU=1` they fail.

mod accumulate;
mod damaged;
mod diverged;
mod ema;
mod keeping;
mod mixed;
mod optimizers;
mod recompute;
mod regularized;
mod related;
mod resumed;
mod said;
mod segments;
mod taught;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Device, Executor, Homes, OpenOptions, Pipelines};
use vistok::graph::{Graph, Tensor};
use vistok::kernel::Elem;
use vistok::kernel::tuning::Choices;
use vistok::kernel::tuning::gemm::Tiles;
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::models::vt::Vt;
use vistok::models::{Network, Parameters, Probe, Regularization, ResNet, VtResNet};
use vistok::ops::Sgd;
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::Random;
use vistok::train::batches::{Augmentation, Normalization};
use vistok::train::checkpoint::Checkpoint;
use vistok::train::data::{Images, Target};
use vistok::train::step::training_step;
use vistok::train::weights::{Weights, declared};
use vistok::train::{Ended, Evaluator, Recompute, Report, Resumed, Schedule, Settings, Trainer};
use vistok::tune::Product;

type Outcome = Result<(), Failed>;
type Test = fn(&Bench) -> Outcome;

struct Bench {
    device: Device,
    pipelines: Pipelines,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 23] = [
        ("a batch is learned by heart", overfits),
        ("the head sees images through the tokens", sees_through_tokens),
        ("resumed equals straight on, bitwise", resumes),
        ("one seed gives one result, bitwise", repeats),
        ("every parameter takes part", takes_part),
        ("weights alone can be read, by another run too", evaluates),
        ("weight files that do not belong are refused", refuses),
        ("a stopped run saves where it stands", stops),
        ("a run remembers the tiles that were chosen for it", remembers_tiles),
        ("mixed precision: learns as f32 does", mixed::learns),
        ("mixed precision: an overflow changes no weight, and halves the scale", mixed::skips),
        ("mixed precision: networks compute with copies of the weights", mixed::copies),
        ("mixed precision: resumed equals straight on, bitwise", resumes_mixed),
        ("blocks made again change no bit", recompute::changes_no_bit),
        ("mixed precision: blocks made again change no bit", recompute::changes_no_bit_mixed),
        ("a run goes on with other blocks made again, bitwise", recompute::resumes_with_others),
        ("scenes are segmented", segments::learns),
        ("mixed precision: scenes are segmented", segments::learns_mixed),
        ("scores counted on the GPU are those of the logits", segments::scores),
        ("a run that segments resumes, bitwise", segments::resumes),
        ("images without a label a pixel are refused", segments::refuses),
        ("the systems compared with learn an epoch, the same each time", related::learns),
        ("mixed precision: the systems compared with learn an epoch, the same each time", related::learns_mixed),
    ];
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    let adapter = Device::open(&options).map_err(|error| error.to_string());
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let more: [&[(&str, Test)]; 8] = [
        &accumulate::TESTS,
        &diverged::TESTS,
        &ema::TESTS,
        &keeping::TESTS,
        &optimizers::TESTS,
        &regularized::TESTS,
        &said::TESTS,
        &taught::TESTS,
    ];
    let tests = [&tests[..], &more.concat()].concat();
    let trials = tests.into_iter().map(|(name, test)| match (&adapter, required) {
        (Ok(device), _) => {
            let device = device.clone();
            let lacks = name.starts_with("mixed precision") && !device.capabilities().f16;
            Trial::test(name, move || test(&Bench { pipelines: Pipelines::new(&device, None), device }))
                .with_ignored_flag(lacks)
        }
        (Err(reason), true) => {
            let reason = reason.clone();
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        (Err(_), false) => Trial::test(name, || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Every kind of layer of a VT-ResNet, on images of 8x8.
fn tiny() -> VtResNet {
    let trunk = Trunk::new(
        Stem::Small { kernel: 3, channels: 8, stride: 1, pool: true },
        Block::Basic,
        vec![Stage { channels: 8, blocks: 1, stride: 1 }],
    );
    VtResNet::of("tiny", trunk, Vt::counted(4, 16, 16, 8).with_heads(2), 2, 4)
}

/// Noise: nothing to learn but each image by itself.
fn noise(count: usize) -> Images {
    let mut random = Random::new(9);
    Images {
        height: 8,
        width: 8,
        channels: 1,
        pixels: (0..count * 64).map(|_| random.below(256) as u8).collect(),
        labels: (0..count).map(|_| random.below(4) as u8).collect(),
        target: Target::Images,
        classes: 4,
    }
}

const SGD: Sgd = Sgd { momentum: 0.9, weight_decay: 1e-3, nesterov: true };

fn settings(steps: u64) -> Settings {
    Settings {
        elem: Elem::F32,
        recompute: Recompute::Nothing,
        batch: 8,
        accumulate: 1,
        seed: 5,
        steps,
        schedule: Schedule::Cosine { peak: 0.05, warm_up: 4, steps: 80 },
        optimizer: SGD.into(),
        augmentation: Augmentation { flip: true, shift: 1, policy: None },
        smoothing: 0.0,
        ema: None,
        regularization: Regularization::default(),
        distillation: None,
        note: String::new(),
        checkpoint: None,
    }
}

fn trainer(bench: &Bench, settings: Settings) -> Result<Trainer, Failed> {
    Ok(Trainer::new(&bench.device, &bench.pipelines, &tiny(), &noise(24), settings)?)
}

fn train(trainer: &mut Trainer) -> Result<Vec<Report>, Failed> {
    let mut reports = Vec::new();
    let ended = trainer.train(&noise(24), &AtomicBool::new(false), |report| reports.push(*report))?;
    require(ended == Ended::Done, "training did not run to its end")?;
    Ok(reports)
}

fn require(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(otherwise.into())) }
}

/// A network that has seen 8 images 80 times, and its losses.
fn by_heart(bench: &Bench, elem: Elem) -> Result<(Trainer, Vec<f32>), Failed> {
    let images = noise(8);
    let settings = Settings { augmentation: Augmentation::default(), elem, ..settings(80) };
    let mut trainer = Trainer::new(&bench.device, &bench.pipelines, &tiny(), &images, settings)?;
    let mut losses = Vec::new();
    trainer.train(&images, &AtomicBool::new(false), |report| losses.push(report.loss))?;
    Ok((trainer, losses))
}

fn overfits(bench: &Bench) -> Outcome {
    falls(&by_heart(bench, Elem::F32)?.1)
}

fn falls(losses: &[f32]) -> Outcome {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    require(first > 0.7, format!("the first loss is {first} already"))?;
    require(last < 0.05, format!("the loss fell from {first} to {last} only"))
}

fn sees_through_tokens(bench: &Bench) -> Outcome {
    let (trainer, _) = by_heart(bench, Elem::F32)?;
    let accuracy = |mean_tokens: bool| {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32([8, 8, 8, 1]));
        let probe = Probe { attention: true, mean_tokens };
        let probed = tiny().probed(&mut graph, &mut parameters, images, probe)?;
        graph.output("logits", probed.logits);
        graph.output("attention", probed.attention[1]);
        let evaluator = Evaluator::new(&bench.device, &bench.pipelines, &graph, trainer.homes())?;
        let accuracy = evaluator.accuracy(&noise(8), trainer.about().normalization)?;
        let attention = evaluator.executor().read_named("attention")?;
        let sums: Vec<f32> = attention.chunks_exact(16).map(|row| row.iter().sum()).collect();
        require(sums.len() == 8 * 2 * 4, "as many maps as images, heads and tokens")?;
        require(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "a token's weights do not sum to 1")?;
        Ok::<_, Failed>(accuracy)
    };
    let (own, mean) = (accuracy(false)?, accuracy(true)?);
    require(own > 0.8, format!("only {own} of the images it learned by heart are recognized"))?;
    require(own - mean > 0.05, format!("accuracy {own} with each image's own tokens, {mean} with their mean"))
}

fn resumes(bench: &Bench) -> Outcome {
    resumed::resumes_with(bench, settings(10))
}

/// Ten steps, and five and five.
fn repeats(bench: &Bench) -> Outcome {
    let run = |seed: u64| {
        let mut trainer = trainer(bench, Settings { seed, ..settings(6) })?;
        train(&mut trainer)?;
        Ok::<_, Failed>(trainer.homes().snapshot()?)
    };
    let first = run(5)?;
    require(first == run(5)?, "two runs of one seed differ")?;
    require(first != run(6)?, "another seed changes nothing")
}

fn takes_part(bench: &Bench) -> Outcome {
    let mut step = training_step(&tiny(), [8, 8, 8, 1], SGD)?;
    for (name, gradient) in &step.gradients {
        step.graph.output(format!("gradient of {name}"), *gradient);
    }
    let machine = bench.device.capabilities();
    let layout = Layout::of(&[&step.graph], machine.offset_alignment)?;
    let homes = Homes::new(&bench.device, &layout)?;
    for parameter in step.parameters.iter() {
        homes.write_f32(parameter.home, &parameter.name, &parameter.initial(5))?;
    }
    let plan = Plan::new(&step.graph, &layout, machine, Options::default())?;
    let executor = Executor::new(&bench.device, &bench.pipelines, plan, &homes)?;
    let images = noise(8);
    let table = Normalization::of(&images.pixels).table();
    let pixels: Vec<f32> = images.pixels.iter().map(|&byte| table[usize::from(byte)]).collect();
    executor.write_f32("images", &pixels)?;
    executor.write_u32("labels", &images.labels.iter().map(|&label| label.into()).collect::<Vec<u32>>())?;
    executor.write_f32("rate", &[0.05])?;
    executor.run()?;
    require(step.gradients.iter().any(|(name, _)| name.contains("/vt2/")), "no parameter of the second block")?;
    for (name, _) in &step.gradients {
        let largest = largest(&executor.read_named(&format!("gradient of {name}"))?);
        // Rounding alone leaves about 1e-8 where the gradient is zero by its formula.
        require(largest > 1e-6 && largest.is_finite(), format!("the gradient of {name} is {largest}"))?;
    }
    for parameter in step.parameters.iter() {
        let now = homes.read_f32(parameter.home, &parameter.name)?;
        let moved: Vec<f32> = now.iter().zip(parameter.initial(5)).map(|(now, then)| now - then).collect();
        require(largest(&moved) > 0.0, format!("{} has not moved", parameter.name))?;
    }
    Ok(())
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |largest: f32, number| largest.max(number.abs()))
}

fn evaluates(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let settings = Settings { checkpoint: Some((file.clone(), 1000)), ..settings(20) };
    let mut trained = trainer(bench, settings.clone())?;
    train(&mut trained)?;
    // 21 images are two whole batches and five of another.
    let accuracy = trained.accuracy(&noise(21))?;
    let predictions = trained.evaluator().predictions(&noise(21), trained.about().normalization)?;
    require(predictions.len() == 21, "an image without prediction")?;
    let other = trainer(bench, Settings { seed: 77, batch: 7, ..settings })?;
    let (weights, about) = (Weights::open(&file)?, trained.about());
    require(weights.about() == Some(about), "the file says something else of the run")?;
    weights.load(other.homes(), &about.model, &declared(&tiny(), about.image)?)?;
    let again = other.evaluator().predictions(&noise(21), about.normalization)?;
    require(again == predictions, "other predictions from the same weights")?;
    require((other.accuracy(&noise(21))? - accuracy).abs() < f64::EPSILON, "another accuracy")
}

fn refuses(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let good = at("good.safetensors");
    let mut trainer = trainer(bench, settings(3))?;
    train(&mut trainer)?;
    trainer.save(&good)?;
    let bytes = std::fs::read(&good)?;
    let before = trainer.homes().snapshot()?;
    let mut long = bytes.clone();
    long.push(0);
    let foreign = safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView<'_>)>::new(), None)?;
    for (name, bytes, words) in [
        ("short", &bytes[..bytes.len() - 1], "no whole safetensors file"),
        ("shorter", &bytes[..100], "no whole safetensors file"),
        ("empty", &bytes[..0], "no whole safetensors file"),
        ("long", &long[..], "no whole safetensors file"),
        ("text", &b"once upon a time, there was a file"[..], "no whole safetensors file"),
        ("foreign", &foreign[..], "was not written by this program"),
    ] {
        std::fs::write(at(name), bytes)?;
        refused(trainer.resume(&at(name)), &[name, words])?;
    }
    refused(trainer.resume(&at("absent")), &["absent", "is the folder there"])?;
    refused(trainer.save(&at("no folder").join("file")), &["no folder", "is the folder there"])?;
    let other = ResNet::small(4);
    let other = Trainer::new(&bench.device, &bench.pipelines, &other, &noise(24), settings(3))?;
    refused(Checkpoint::open(&good)?.load(other.homes()), &["good", "[3, 3, 1, 8] there", "more"])?;
    let longer = VtResNet { blocks: 3, ..tiny() };
    let longer = Trainer::new(&bench.device, &bench.pipelines, &longer, &noise(24), settings(3))?;
    refused(Checkpoint::open(&good)?.load(longer.homes()), &["good", "it lacks `parameters/stage3/vt2"])?;
    // Other options with the same shapes: only the words tell.
    let other = VtResNet { vt: tiny().vt.with_heads(1), ..tiny() };
    let mut other = Trainer::new(&bench.device, &bench.pipelines, &other, &noise(24), settings(3))?;
    refused(other.resume(&good), &["good", "options is", "\"heads\":2", "\"heads\":1"])?;
    let network = Checkpoint::open(&good)?.about().network()?;
    require(network == Network::from(tiny()), "a checkpoint makes another network than it was written by")?;
    let mut seeds = self::trainer(bench, Settings { seed: 6, ..settings(3) })?;
    refused(seeds.resume(&good), &["good", "seed"])?;
    let wide = Images { classes: 5, ..noise(24) };
    refused(trainer.train(&wide, &AtomicBool::new(false), |_| {}), &["classes", "5"])?;
    require(trainer.homes().snapshot()? == before, "a refused file has left something behind")
}

fn refused<T, E: std::fmt::Display>(result: Result<T, E>, words: &[&str]) -> Outcome {
    let said = result.err().map(|error| error.to_string()).unwrap_or_default();
    require(words.iter().all(|word| said.contains(word)), format!("`{said}` does not say {words:?}"))
}

fn stops(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("stopped.safetensors");
    let kept = Settings { checkpoint: Some((file.clone(), 1000)), ..settings(10) };
    let mut trainer = trainer(bench, kept)?;
    let stop = AtomicBool::new(false);
    let ended = trainer.train(&noise(24), &stop, |report| stop.store(report.step == 3, Ordering::Relaxed))?;
    require(ended == Ended::Stopped, "the stop flag went unseen")?;
    // The fourth was under way when the third was seen to end.
    require(Checkpoint::open(&file)?.about().step == 4, "the file is of another step")?;
    require(entries(folder.path())? == 1, "something else than the file was left")
}

fn entries(folder: &Path) -> Result<usize, Failed> {
    Ok(std::fs::read_dir(folder)?.count())
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumed::resumes_with(bench, Settings { elem: Elem::F16, ..settings(10) })
}

fn remembers_tiles(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tuned.safetensors");
    let step = training_step(&tiny(), [8, 8, 8, 1], SGD)?;
    let mut choices = Choices::default();
    let product = Product::all(&step.graph, bench.device.capabilities()).into_iter().next().ok_or("no product")?;
    let way = Tiles::all(bench.device.capabilities(), Elem::F32)[0];
    choices.set(product.asked(), way);
    let mut device = bench.device.clone();
    let mut all = choices.clone();
    all.set("NoSuchOp f32 [1]".to_owned(), way);
    device.set_choices(all);
    let tuned = Bench { pipelines: Pipelines::new(&device, None), device };
    let mut first = trainer(&tuned, settings(3))?;
    train(&mut first)?;
    first.save(&file)?;
    let noted = Checkpoint::open(&file)?.about().tiles.clone();
    require(noted == choices, format!("{noted:?} is noted"))?;
    let again = trainer(&tuned, settings(5))?.resume(&file)?;
    require(again == Resumed::Exactly, "the same tiles, and yet it would be rounded elsewhere")?;
    let untuned = trainer(bench, settings(5))?.resume(&file)?;
    require(untuned != Resumed::Exactly, "other tiles round elsewhere")
}
