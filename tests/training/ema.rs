//! Moving averages: what they are after a few steps, that they are scored and read, and that nothing else changes by them.

use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::parameters::AVERAGES;
use vistok::train::step::LOSS_SCALE;
use vistok::train::weights::{Weights, declared};
use vistok::train::{Settings, Trainer};

use super::resumed::resumes_with;
use super::{Bench, Outcome, Test, noise, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 6] = [
    ("averages follow weights and running averages", follows),
    ("averages change no weight", changes_no_weight),
    ("averages resume, bitwise", resumes),
    ("averages are scored, and read from files", is_scored),
    ("mixed precision: averages resume, bitwise", resumes_mixed),
    ("mixed precision: a skipped step moves no average", skips),
];

const DECAY: f64 = 0.75;

fn with(elem: Elem, steps: u64) -> Settings {
    Settings { elem, ema: Some(DECAY), ..settings(steps) }
}

/// Every weight and running average, or with `averages` the averages of them all, in one order.
fn read(trainer: &Trainer, averages: bool) -> Result<Vec<Vec<f32>>, Failed> {
    let of = |home| if averages { AVERAGES } else { home };
    let all = trainer.parameters().iter();
    Ok(all.map(|one| trainer.homes().read_f32(of(one.home), &one.name)).collect::<Result<_, _>>()?)
}

/// Computed here again, step by step, from the weights that each step left.
fn follows(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, with(Elem::F32, 4))?;
    let mut expected = read(&trainer, false)?;
    require(read(&trainer, true)? == expected, "averages do not start as the weights do")?;
    for step in 1..=4 {
        trainer.train_to(&noise(24), &AtomicBool::new(false), step, |_| {})?;
        let (weights, averages) = (read(&trainer, false)?, read(&trainer, true)?);
        for (at, parameter) in trainer.parameters().iter().enumerate() {
            let mut far = false;
            for (at, average) in expected[at].iter_mut().zip(&weights[at]).zip(&averages[at]) {
                let (expected, weight) = at;
                *expected = (DECAY * f64::from(*expected) + (1.0 - DECAY) * f64::from(*weight)) as f32;
                far |= (*expected - average).abs() > 1e-5 * expected.abs().max(weight.abs()) + 1e-7;
            }
            require(!far, format!("step {step}: the average of {} is another", parameter.name))?;
            require(weights[at] != averages[at], format!("step {step}: {} is its own average", parameter.name))?;
        }
    }
    Ok(())
}

fn changes_no_weight(bench: &Bench) -> Outcome {
    let mut plain = trainer(bench, settings(6))?;
    let mut averaged = trainer(bench, with(Elem::F32, 6))?;
    require(train(&mut plain)? == train(&mut averaged)?, "losses differ")?;
    require(read(&plain, false)? == read(&averaged, false)?, "weights or running averages differ")
}

fn resumes(bench: &Bench) -> Outcome {
    resumes_with(bench, with(Elem::F32, 10))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("averaged.safetensors");
    let mut averaged = trainer(bench, with(Elem::F32, 3))?;
    train(&mut averaged)?;
    averaged.save(&file)?;
    for other in [settings(3), Settings { ema: Some(0.5), ..settings(3) }] {
        let refused = trainer(bench, other)?.resume(&file);
        require(refused.is_err_and(|error| error.to_string().contains("averaged 0.75")), "another decay went on")?;
    }
    Ok(())
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_with(bench, with(Elem::F16, 10))
}

/// The trainer's scores are of averages, and so is what a file says unless it is asked for the weights themselves.
fn is_scored(bench: &Bench) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let settings = Settings { checkpoint: Some((file.clone(), 1000)), ..with(Elem::F32, 12) };
    let mut trained = trainer(bench, settings)?;
    train(&mut trained)?;
    let about = trained.about();
    let logits = |of: &Trainer| {
        of.evaluator().predictions(&noise(21), about.normalization)?;
        Ok::<_, Failed>(of.evaluator().executor().read_named("logits")?)
    };
    let scored = logits(&trained)?;
    let other = trainer(bench, self::settings(1))?;
    let read = |weights: Weights| {
        weights.load(other.homes(), &about.model, &declared(&tiny(), about.image)?)?;
        logits(&other)
    };
    let weights = Weights::open(&file)?;
    require(weights.are_averaged(), "the file has averages")?;
    require(read(weights)? == scored, "what is scored is not what the file says")?;
    let raw = Weights::open(&file)?.raw();
    require(!raw.are_averaged() && read(raw)? != scored, "the weights themselves score as their averages do")
}

/// A step of which nothing is left counts in no average either, even where running averages have moved.
fn skips(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, with(Elem::F16, 2))?;
    trainer.homes().write_f32(LOSS_SCALE, "scale", &[16_777_216.0])?;
    let before = read(&trainer, true)?;
    train(&mut trainer)?;
    require(trainer.loss_scale()?.is_some_and(|(_, skipped)| skipped == 2), "both steps overflow")?;
    require(read(&trainer, false)? != before, "running averages move all the same")?;
    require(read(&trainer, true)? == before, "a skipped step moved an average")
}
