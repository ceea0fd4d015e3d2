//! Optimizers: each learns and resumes bitwise, skipped steps count in none, and clipped steps are no longer than they may be.

use libtest_mimic::Failed;
use vistok::gpu::{Executor, Homes};
use vistok::graph::Source;
use vistok::kernel::Elem;
use vistok::models::parameters::PARAMETERS;
use vistok::ops::{AdamW, RmsProp, Sgd};
use vistok::plan::{Layout, Options, Plan};
use vistok::train::step::{LOSS_SCALE, StepOptions, training_step_with};
use vistok::train::{CORRECTION, Optimizer, Rule, SQUARES, Schedule, Settings};

use super::resumed::resumed;
use super::{Bench, Outcome, SGD, Test, refused, require, settings, tiny, train, trainer};

pub(crate) const TESTS: [(&str, Test); 9] = [
    ("optimizers learn and resume, bitwise", resumes),
    ("mixed precision: optimizers learn and resume, bitwise", resumes_mixed),
    ("optimizers: squares start where they should", starts),
    ("optimizers: the correction counts steps", counts),
    ("optimizers: clipped gradients are as long as they may be", clips),
    ("optimizers: what f32 cannot hold is left out", clips_what_f32_cannot_hold),
    ("mixed precision: AdamW counts no step that is skipped", skips),
    ("optimizers: updates of many tensors in one call change no bit", rows),
    ("mixed precision: updates of many tensors in one call change no bit", rows_mixed),
];

const RMS_PROP: RmsProp = RmsProp { decay: 0.9, momentum: 0.9, weight_decay: 1e-4, epsilon: 1e-3, tensorflow: true };
const ADAMW: AdamW = AdamW { beta_1: 0.9, beta_2: 0.999, weight_decay: 1e-2, epsilon: 1e-8 };

/// Those that are not SGD alone, with a rate that suits them.
fn all() -> [Optimizer; 4] {
    // From squares of 0 the first steps are long: with momentum, this rate would be too high.
    let other = Rule::RmsProp(RmsProp { tensorflow: false, momentum: 0.0, ..RMS_PROP });
    let asked = Optimizer { clip: Some(1.0), decay_all: true, ..Optimizer::from(SGD) };
    [Rule::RmsProp(RMS_PROP).into(), other.into(), Rule::AdamW(ADAMW).into(), asked]
}

fn with(optimizer: Optimizer, elem: Elem, steps: u64) -> Settings {
    let schedule = Schedule::Cosine { peak: 0.003, warm_up: 4, steps: 80 };
    Settings { optimizer, elem, schedule, ..settings(steps) }
}

fn resumes(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F32)
}

fn resumes_mixed(bench: &Bench) -> Outcome {
    resumes_in(bench, Elem::F16)
}

fn resumes_in(bench: &Bench, elem: Elem) -> Outcome {
    for optimizer in all() {
        let run = resumed(bench, &with(optimizer, elem, 24), 10)
            .map_err(|failed| format!("{optimizer:?} {elem:?}: {}", failed.message().unwrap_or_default()))?;
        let mean = |from: usize| run.reports[from..from + 6].iter().map(|report| report.loss).sum::<f32>() / 6.0;
        require(mean(18) < mean(0), format!("{optimizer:?} {elem:?}: losses from {} to {}", mean(0), mean(18)))?;
        let mut other = trainer(bench, with(Optimizer { clip: Some(7.0), ..optimizer }, elem, 24))?;
        refused(other.resume(&run.file), &["recipe is", "clipped to 7.0"])?;
    }
    Ok(())
}

fn starts(bench: &Bench) -> Outcome {
    for (tensorflow, first) in [(true, 1.0), (false, 0.0)] {
        let rule = Rule::RmsProp(RmsProp { tensorflow, ..RMS_PROP });
        let trainer = trainer(bench, with(rule.into(), Elem::F32, 1))?;
        for parameter in trainer.parameters().learned() {
            let squares = trainer.homes().read_f32(SQUARES, &parameter.name)?;
            require(squares.iter().all(|&square| square == first), format!("squares start at {first}"))?;
        }
    }
    Ok(())
}

/// AdamW's step count is on the GPU, and only steps that happened count.
fn skips(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, with(Rule::AdamW(ADAMW).into(), Elem::F16, 2))?;
    trainer.homes().write_f32(LOSS_SCALE, "scale", &[16_777_216.0])?;
    train(&mut trainer)?;
    require(trainer.loss_scale()?.is_some_and(|(_, skipped)| skipped == 2), "both steps overflow")?;
    let correction = trainer.homes().read_f32(CORRECTION, "betas")?;
    require(correction == [0.0, 0.0], format!("skipped steps count: {correction:?}"))
}

fn counts(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, with(Rule::AdamW(ADAMW).into(), Elem::F32, 5))?;
    train(&mut trainer)?;
    let correction = trainer.homes().read_f32(CORRECTION, "betas")?;
    let wants = [ADAMW.beta_1, ADAMW.beta_2].map(|beta| 1.0 - beta.powi(5));
    let near = correction.iter().zip(wants).all(|(&is, wants)| (f64::from(is) / wants - 1.0).abs() < 1e-6);
    require(near, format!("{correction:?} after five steps, not {wants:?}"))
}

/// A step of plain SGD is as long as rate times gradient: clipped to `LIMIT`, rate times that.
fn clips(bench: &Bench) -> Outcome {
    const LIMIT: f64 = 0.01;
    let plain = Optimizer::from(Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false });
    let moved = |clip: Option<f64>| {
        let mut trainer = trainer(bench, with(Optimizer { clip, ..plain }, Elem::F32, 1))?;
        let read = |trainer: &vistok::train::Trainer| {
            let names = trainer.parameters().learned().map(|parameter| parameter.name.clone());
            let read: Result<Vec<_>, _> = names.map(|name| trainer.homes().read_f32(PARAMETERS, &name)).collect();
            read.map(|all| all.concat())
        };
        let before = read(&trainer)?;
        let rate = f64::from(train(&mut trainer)?[0].rate);
        let squares = read(&trainer)?.iter().zip(before).map(|(now, then)| f64::from(now - then).powi(2)).sum::<f64>();
        Ok::<_, Failed>(squares.sqrt() / rate)
    };
    let (free, large, clipped) = (moved(None)?, moved(Some(1e6))?, moved(Some(LIMIT))?);
    require(free > 10.0 * LIMIT && large == free, format!("gradients as long as {free}, and {large} below the limit"))?;
    // Weights near 1 hold a move of some 10^-5 to a few thousandths of it.
    require((clipped / LIMIT - 1.0).abs() < 0.02, format!("a clipped gradient as long as {clipped}, not {LIMIT}"))
}

/// Updates of many tensors in one call, or one call a tensor.
fn rows(bench: &Bench) -> Outcome {
    rows_in(bench, Elem::F32)
}

fn rows_mixed(bench: &Bench) -> Outcome {
    rows_in(bench, Elem::F16)
}

fn rows_in(bench: &Bench, elem: Elem) -> Outcome {
    for optimizer in all().into_iter().chain([SGD.into()]) {
        let options = StepOptions { elem, ema: Some(0.9), ..StepOptions::default() };
        let step = training_step_with(&options, &tiny(), [4, 8, 8, 1], optimizer)?;
        let layout = Layout::of(&[&step.graph], bench.device.capabilities().offset_alignment)?;
        let run = |rows: bool| -> Result<_, Failed> {
            let homes = Homes::new(&bench.device, &layout)?;
            let options = Options { rows, ..Options::default() };
            let plan = Plan::new(&step.graph, &layout, bench.device.capabilities(), options)?;
            let executor = Executor::new(&bench.device, &bench.pipelines, plan, &homes)?;
            for value in step.graph.values() {
                let numbers: Vec<f32> =
                    step.sample(value, step.graph.source(value), 3).data.iter().map(|&number| number as f32).collect();
                match step.graph.source(value) {
                    Source::Input(name) if name == "labels" => {
                        let labels: Vec<u32> = numbers.iter().map(|&label| label as u32).collect();
                        executor.write_u32(name, &labels)?;
                    }
                    Source::Input(name) => executor.write_f32(name, &numbers)?,
                    Source::Stored { home, name } => homes.write_f32(home, name, &numbers)?,
                    Source::Node(..) => {}
                }
            }
            for _ in 0..2 {
                executor.run()?;
            }
            let updates = executor.plan().nodes().iter().filter(|node| node.label.ends_with("tensors"));
            Ok((updates.count(), homes.snapshot()?))
        };
        let ((together, there), (apart, here)) = (run(true)?, run(false)?);
        // One or two of updates, as all decay or not; one of averages of weights and one of those of running averages.
        require((3..=4).contains(&together) && apart == 0, format!("{optimizer:?} {elem:?}: {together} rows"))?;
        // What clips adds squares in another order.
        let same = there == here || optimizer.clip.is_some();
        require(same, format!("{optimizer:?} {elem:?}: updates in rows change bits"))?;
    }
    Ok(())
}

/// In f32 a step whose gradients are together longer than f32 holds is left out, and nobody counts it.
fn clips_what_f32_cannot_hold(bench: &Bench) -> Outcome {
    let clipped = Optimizer { clip: Some(1.0), ..Optimizer::from(SGD) };
    for size in [1e25, 1e37] {
        let mut trainer = trainer(bench, with(clipped, Elem::F32, 4))?;
        let weights = trainer.homes().read_f32(PARAMETERS, "head/weight")?;
        let large: Vec<f32> = weights.iter().map(|weight| size * weight).collect();
        trainer.homes().write_f32(PARAMETERS, "head/weight", &large)?;
        train(&mut trainer)?;
        let unmoved = trainer.homes().read_f32(PARAMETERS, "head/weight")? == large;
        require(unmoved, format!("weights {size} times as large have moved"))?;
    }
    Ok(())
}
