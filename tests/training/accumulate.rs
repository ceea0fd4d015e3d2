//! Several micro-batches a step: what a large batch does, where norms do not see batches; resumed, made again and skipped as one step.

use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::graph::{GraphError, Value};
use vistok::kernel::Elem;
use vistok::models::layers::{Pointwise, head, relu, reshape};
use vistok::models::parameters::PARAMETERS;
use vistok::models::{Builder, Model, Regularization, SURVIVAL};
use vistok::train::regularize::survival;
use vistok::train::step::LOSS_SCALE;
use vistok::train::{ACCUMULATED, Recompute, Report, Settings, Trainer};

use super::resumed::resumes_with;
use super::{Bench, Outcome, Test, noise, refused, require, settings, train, trainer};

pub(crate) const TESTS: [(&str, Test); 6] = [
    ("micro-batches are a large batch, where norms see none", equals),
    ("micro-batches: resumed equals straight on, bitwise; made again, too", resumes),
    ("micro-batches: steps and passes are counted", counts),
    ("micro-batches: each leaves out its own", leaves_out),
    ("mixed precision: micro-batches resume, bitwise", resumes_mixed),
    ("mixed precision: micro-batches are skipped as one step", skips),
];

/// A network without norms.
#[derive(Debug)]
struct Plain;

impl Model for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn description(&self) -> String {
        "plain".to_owned()
    }

    fn classes(&self) -> usize {
        4
    }

    fn blocks(&self) -> Vec<String> {
        Vec::new()
    }

    fn build(&self, b: &mut Builder<'_>, images: Value) -> Result<Value, GraphError> {
        let [n, height, width, channels] = b.graph.tensor(images).shape.dims();
        let rows = reshape(b, images, [n, height, width * channels])?;
        let hidden = Pointwise::Dense.apply(b, "first", rows, 32)?;
        let hidden = relu(b, hidden)?;
        let hidden = Pointwise::Dense.apply(b, "second", hidden, 16)?;
        head(b, hidden, self.classes())
    }
}

/// So many micro-batches of twelve images a step.
fn cut(count: u32, steps: u64) -> Settings {
    Settings { batch: 12 / count as usize, accumulate: count, ..settings(steps) }
}

fn equals(bench: &Bench) -> Outcome {
    for elem in [Elem::F32, Elem::F16] {
        if elem == Elem::F16 && !bench.device.capabilities().f16 {
            continue;
        }
        let run = |count| {
            let settings = Settings { elem, ..cut(count, 3) };
            let mut trainer = Trainer::new(&bench.device, &bench.pipelines, &Plain, &noise(24), settings)?;
            let first: Vec<Vec<f32>> = read(&trainer, PARAMETERS)?;
            let reports = train(&mut trainer)?;
            Ok::<_, Failed>((first, reports, read(&trainer, PARAMETERS)?))
        };
        let (first, whole, weights) = run(1)?;
        for count in [2, 3] {
            let (_, reports, cut) = run(count)?;
            let share = if elem == Elem::F32 { 1e-4 } else { 2e-2 };
            for (one, other) in whole.iter().zip(&reports) {
                let Report { step, epoch, loss, .. } = *other;
                require((one.step, one.epoch) == (step, epoch), format!("{count}: steps and passes"))?;
                require((one.loss - loss).abs() < share * one.loss, format!("{count}: loss {loss}, not {}", one.loss))?;
            }
            for (at, parameter) in weights.iter().enumerate() {
                // How far weights moved says how far they may be apart.
                let moved = |to: &[f32]| to.iter().zip(&first[at]).map(|(to, from)| to - from).collect::<Vec<f32>>();
                let (one, other) = (moved(parameter), moved(&cut[at]));
                let most = one.iter().fold(0.0f32, |most, number| most.max(number.abs()));
                let apart = one.iter().zip(&other).fold(0.0f32, |apart, (one, other)| apart.max((one - other).abs()));
                require(
                    most > 0.0 && apart <= 10.0 * share * most,
                    format!("{elem:?} {count}: parameter {at} moved {apart} of {most} otherwise"),
                )?;
            }
        }
    }
    Ok(())
}

fn read(trainer: &Trainer, home: &str) -> Result<Vec<Vec<f32>>, Failed> {
    let names = trainer.parameters().learned().map(|parameter| &parameter.name);
    Ok(names.map(|name| trainer.homes().read_f32(home, name)).collect::<Result<_, _>>()?)
}

/// Bitwise, and with blocks made again; the run of whole batches is another, and files know which they are of.
fn resumes(bench: &Bench) -> Outcome {
    resumes_with(bench, cut(3, 10))?;
    let run = |settings| {
        let mut trainer = trainer(bench, settings)?;
        let reports = train(&mut trainer)?;
        Ok::<_, Failed>((reports, trainer))
    };
    let (kept, straight) = run(cut(3, 4))?;
    let (again, made) = run(Settings { recompute: Recompute::Everything, ..cut(3, 4) })?;
    require(kept == again, "losses differ with blocks made again")?;
    require(straight.homes().snapshot()? == made.homes().snapshot()?, "weights differ with blocks made again")?;
    let (whole, _) = run(cut(1, 4))?;
    require(whole != kept, "batch norms see micro-batches by themselves")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cut.safetensors");
    straight.save(&file)?;
    require(
        std::fs::read(&file).is_ok_and(|bytes| {
            !String::from_utf8_lossy(&bytes).contains(ACCUMULATED)
                || String::from_utf8_lossy(&bytes).matches(ACCUMULATED).count() == 1
        }),
        "sums are in the file",
    )?;
    refused(
        trainer(bench, Settings { accumulate: 1, ..cut(3, 4) })?.resume(&file),
        &["cut.safetensors", "accumulated 3"],
    )?;
    // What a step that did not end leaves of a sum is of no step.
    let mut rest = trainer(bench, cut(3, 6))?;
    for parameter in straight.parameters().learned() {
        rest.homes().write_f32(ACCUMULATED, &parameter.name, &vec![1e3; parameter.tensor.shape.count()])?;
    }
    rest.resume(&file)?;
    let mut through = trainer(bench, cut(3, 6))?;
    require(train(&mut rest)?[..] == train(&mut through)?[4..], "a sum was left over")
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_with(bench, Settings { elem: Elem::F16, ..cut(2, 10) })
}

/// An overflow in any micro-batch skips the step, and the next begins with sums of 0.
fn skips(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, Settings { elem: Elem::F16, ..cut(3, 2) })?;
    let before = read(&trainer, PARAMETERS)?;
    trainer.homes().write_f32(LOSS_SCALE, "scale", &[16_777_216.0])?;
    let to = |trainer: &mut Trainer, step| trainer.train_to(&noise(24), &AtomicBool::new(false), step, |_| {});
    to(&mut trainer, 1)?;
    require(
        trainer.loss_scale()? == Some((8_388_608.0, 1)),
        format!("a step is skipped once: {:?}", trainer.loss_scale()?),
    )?;
    require(read(&trainer, PARAMETERS)? == before, "a skipped step moved a weight")?;
    let empty = |sums: Vec<Vec<f32>>| sums.iter().flatten().all(|&sum| sum == 0.0);
    require(empty(read(&trainer, ACCUMULATED)?), "a sum that has overflown is left")?;
    trainer.homes().write_f32(LOSS_SCALE, "scale", &[64.0])?;
    to(&mut trainer, 2)?;
    require(trainer.loss_scale()? == Some((64.0, 1)), "a step of a small scale was skipped")?;
    let finite = read(&trainer, PARAMETERS)?.iter().flatten().all(|weight| weight.is_finite());
    require(finite && read(&trainer, PARAMETERS)? != before, "the step behind it moved nothing")
}

/// Each micro-batch leaves out what its own number says: the last of step 2 is the sixth of all.
fn leaves_out(bench: &Bench) -> Outcome {
    let regularization = Regularization { depth: Some(0.7), dropout: None };
    let mut trainer = trainer(bench, Settings { regularization, ..cut(3, 2) })?;
    train(&mut trainer)?;
    let value = trainer.executor().plan().find(SURVIVAL).ok_or("an input")?;
    let told = trainer.executor().read(value)?;
    let of = |number| survival(0.7, [4, 3], [5, number]);
    require(told == of(5) && told != of(4) && told != of(1), format!("it is told {told:?}"))
}

/// Twenty-four images are two steps of three micro-batches of four.
fn counts(bench: &Bench) -> Outcome {
    let mut cut = trainer(bench, cut(3, 5))?;
    let epochs: Vec<u64> = train(&mut cut)?.iter().map(|report| report.epoch).collect();
    require(epochs == [0, 0, 1, 1, 2], format!("passes {epochs:?}"))?;
    let mut too_many = trainer(bench, Settings { accumulate: 4, ..settings(1) })?;
    refused(too_many.train(&noise(24), &AtomicBool::new(false), |_| {}), &["32", "24"])
}
