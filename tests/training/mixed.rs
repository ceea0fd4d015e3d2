//! Mixed precision: f32 weights beside f16 copies, and a loss whose scale finds itself.

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::parameters::COPIES;
use vistok::train::step::LOSS_SCALE;
use vistok::train::{Settings, Trainer};

use super::{Bench, Outcome, by_heart, falls, require, settings, train, trainer};

pub(crate) fn learns(bench: &Bench) -> Outcome {
    let (trainer, losses) = by_heart(bench, Elem::F16)?;
    falls(&losses)?;
    let (scale, skipped) = trainer.loss_scale()?.ok_or("mixed precision scales its loss")?;
    require(scale >= 16.0 && skipped < 20, format!("{skipped} of 80 steps skipped, scale {scale}"))?;
    // A batch learned by heart in f32 ends where this one does, as far as either says anything.
    let (_, single) = by_heart(bench, Elem::F32)?;
    let mean = |losses: &[f32]| losses[60..].iter().sum::<f32>() / 20.0;
    let (mixed, single) = (mean(&losses), mean(&single));
    require((mixed - single).abs() < 0.02, format!("the last twenty losses: {mixed} mixed, {single} in f32"))
}

pub(crate) fn skips(bench: &Bench) -> Outcome {
    const TOO_LARGE: f32 = 16_777_216.0;
    let mut trainer = trainer(bench, Settings { elem: Elem::F16, ..settings(3) })?;
    trainer.homes().write_f32(LOSS_SCALE, "scale", &[TOO_LARGE])?;
    trainer.homes().write_f32(LOSS_SCALE, "steps", &[7.0])?;
    let kept = |trainer: &Trainer| {
        let mut kept = Vec::new();
        for home in
            trainer.homes().layout().homes().iter().filter(|home| !["statistics", LOSS_SCALE].contains(&home.name))
        {
            for stored in &home.tensors {
                kept.push(trainer.homes().read_bytes(home.name, &stored.name)?);
            }
        }
        Ok::<_, Failed>(kept)
    };
    let before = kept(&trainer)?;
    let losses = train(&mut trainer)?;
    require(losses.iter().all(|report| report.loss.is_finite()), "an overflow of gradients is none of the loss")?;
    require(kept(&trainer)? == before, "a weight, a copy or a velocity changed")?;
    let found = trainer.loss_scale()?;
    require(found == Some((TOO_LARGE / 8.0, 3)), format!("three steps too large left scale and skipped at {found:?}"))?;
    let steps = trainer.homes().read_f32(LOSS_SCALE, "steps")?;
    require(steps == [0.0], format!("{steps:?} steps without overflow"))
}

pub(crate) fn copies(bench: &Bench) -> Outcome {
    let mut trainer = trainer(bench, Settings { elem: Elem::F16, ..settings(20) })?;
    are_copies(&trainer)?;
    let before = trainer.homes().snapshot()?;
    train(&mut trainer)?;
    require(trainer.homes().snapshot()? != before, "twenty steps changed nothing")?;
    are_copies(&trainer)
}

fn are_copies(trainer: &Trainer) -> Outcome {
    let homes = trainer.homes();
    let copies = homes.layout().homes().iter().find(|home| home.name == COPIES).ok_or("no copies")?;
    require(copies.tensors.len() > 10, "every weight has a copy")?;
    for stored in &copies.tensors {
        let (copy, weight) = (homes.read_f32(COPIES, &stored.name)?, homes.read_f32("parameters", &stored.name)?);
        // Half a unit in the last place where rounding is to nearest, a whole one where it is not.
        let apart = |(copy, weight): (&f32, &f32)| (copy - weight).abs() > weight.abs() / 1024.0 + 6.0e-8;
        let exact = copy == weight;
        require(!exact && !copy.iter().zip(&weight).any(apart), format!("the copy of `{}`", stored.name))?;
    }
    Ok(())
}
