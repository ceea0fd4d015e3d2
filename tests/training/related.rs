//! The systems that the paper compares with learn the demo's pictures: losses fall over an epoch, and the same run ends in the same bits.

use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use vistok::kernel::Elem;
use vistok::models::{Network, ResNet, Variant};
use vistok::train::batches::Augmentation;
use vistok::train::data::{Dataset, Images};
use vistok::train::{Schedule, Settings, Trainer};

use super::{Bench, Outcome, require, settings};

/// Pictures of an epoch, and how many a batch has of them.
const IMAGES: usize = 600;
const BATCH: usize = 20;

/// The small network of every variant.
fn networks() -> Vec<Network> {
    let is_small = |network: &ResNet| !network.trunk.variant.is_plain() && network.name.contains("-small");
    ResNet::presets(10).into_iter().filter(is_small).map(Network::from).collect()
}

fn run(bench: &Bench, network: &Network, elem: Elem, images: &Images) -> Result<(Vec<f32>, Trainer), Failed> {
    let steps = (IMAGES / BATCH) as u64;
    let schedule = Schedule::Cosine { peak: 0.05, warm_up: 4, steps };
    let augmentation = Augmentation::default();
    let settings = Settings { elem, batch: BATCH, schedule, augmentation, ..settings(steps) };
    let mut trainer = Trainer::new(&bench.device, &bench.pipelines, network.model(), images, settings)?;
    let mut losses = Vec::new();
    trainer.train(images, &AtomicBool::new(false), |report| losses.push(report.loss))?;
    Ok((losses, trainer))
}

fn learns_in(bench: &Bench, elem: Elem) -> Outcome {
    let images = Dataset::embedded()?.train.first(IMAGES);
    let networks = networks();
    require(networks.len() == Variant::presets().len(), "a variant has no small network")?;
    for network in &networks {
        let name = network.model().name();
        let (losses, trainer) = run(bench, network, elem, &images)?;
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
        // Ten classes: who knows nothing has ln 10 = 2.3.
        require(first > 1.5 && last < 0.88 * first, format!("{name}: the loss fell from {first} to {last}"))?;
        let (again, other) = run(bench, network, elem, &images)?;
        require(again == losses, format!("{name}: the losses of the same run differ"))?;
        require(other.homes().snapshot()? == trainer.homes().snapshot()?, format!("{name}: weights differ"))?;
    }
    Ok(())
}

pub(crate) fn learns(bench: &Bench) -> Outcome {
    learns_in(bench, Elem::F32)
}

pub(crate) fn learns_mixed(bench: &Bench) -> Outcome {
    learns_in(bench, Elem::F16)
}
