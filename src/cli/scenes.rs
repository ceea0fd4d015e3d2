//! `vistok demo --segment`: a narrow FPN and a narrow VT-FPN learn to tell the garments of scenes apart, pixel by pixel.

use std::path::PathBuf;

use serde_json::json;
use vistok::bench::Count;
use vistok::models::{Fpn, Model};
use vistok::train::data::{Dataset, Images};
use vistok::train::{Score, Segmented, Trainer, recipe};

use super::demo::Arguments;
use super::folder::Folder;
use super::learning::{self, Course, train};
use super::machine::Machine;
use super::table::{Align, Table};
use super::{Error, interrupt, score, speak};

/// A network, its weights, and how it went.
pub(super) struct Learned {
    pub(super) network: Fpn,
    pub(super) trainer: Trainer,
    pub(super) segmented: Segmented,
    course: Course,
    /// Multiply-adds of a scene, in all and of the pyramid.
    multiply_adds: [u64; 2],
}

/// Trains both, evaluates, draws.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let folder = Folder::prepare(&arguments.out)?;
    let dataset = Dataset::scenes()?.with_first(arguments.images());
    let networks = [Fpn::small(dataset.train.classes), Fpn::small_visual_tokens(dataset.train.classes)];
    let mut settings = recipe::demo(&dataset.train, &arguments.otherwise(), arguments.seed);
    settings.elem = learning::elem(arguments.f16);
    settings.recompute = arguments.recompute.get();
    let stop = interrupt::stop_flag();
    let (machine, trainers) = Machine::prepare(&arguments.machine, |machine| {
        let on = |network| Trainer::new(&machine.device, &machine.pipelines, network, &dataset.train, settings.clone());
        let [fpn, tokens] = &networks;
        Ok([on(fpn)?, on(tokens)?])
    })?;
    let (adapter, count, data) = (machine.name().to_owned(), dataset.train.count(), &dataset.name);
    let mut all = Vec::with_capacity(networks.len());
    for (network, mut trainer) in networks.into_iter().zip(trainers) {
        let (name, numbers) = (network.name(), trainer.parameters().count(true));
        speak::note(&format!("{name}, {numbers} parameters, on {adapter}; {count} training scenes ({data})"));
        let course = train(&mut trainer, &dataset.train, (&settings, stop), "nothing was written", None)?;
        let Score::Pixels(segmented) = trainer.score(&dataset.test)? else {
            return Err(Error::Refused(format!("{name} does not segment")));
        };
        let multiply_adds = counted(&network, &dataset.train)?;
        all.push(Learned { network, trainer, segmented, course, multiply_adds });
    }
    let mut files = Vec::new();
    for Learned { network, trainer, .. } in &all {
        let file = folder.file(&format!("{}.safetensors", network.name()));
        trainer.save(&file)?;
        files.push(file);
    }
    files.extend(draw(&machine, &all, &dataset.test, &folder)?);
    let mut text = summary(&all, dataset.test.count()) + "\nWritten:\n";
    text.extend(files.iter().map(|file| format!("  {}\n", file.display())));
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let ground = all.first().map(|one| one.segmented.constant(0).mean_iou);
        let mut document = json!({ "adapter": adapter, "background_mean_iou": ground });
        for Learned { network, segmented, course, multiply_adds: [all, pyramid], .. } in &all {
            let told = json!({ "train_seconds": course.seconds, "macs": all, "pyramid_macs": pyramid });
            document[network.name()] = told;
            score::tell(&Score::Pixels(segmented.clone()), &mut document[network.name()]);
        }
        speak::say_json(&document)?;
    }
    Ok(())
}

/// Multiply-adds of a scene, in all and of the pyramid.
fn counted(network: &Fpn, scenes: &Images) -> Result<[u64; 2], Error> {
    let count = Count::of(network, [scenes.height, scenes.width, scenes.channels], 1)?;
    let pyramid = count.parts().into_iter().filter(|part| part.name == "pyramid").map(|part| part.multiply_adds).sum();
    Ok([count.multiply_adds(), pyramid])
}

fn summary(all: &[Learned], count: usize) -> String {
    let right = |head| (head, Align::Right);
    let heads = ["mean IoU", "pixels right", "M multiply-adds", "of the pyramid", "trained in"].map(right);
    let mut table = Table::new(&[&[("network", Align::Left)][..], &heads].concat());
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mega = |number: u64| format!("{:.2}", number as f64 / 1e6);
    for Learned { network, segmented, course, multiply_adds: [all, pyramid], .. } in all {
        table.row(vec![
            network.name().to_owned(),
            percent(segmented.mean_iou),
            percent(segmented.right),
            mega(*all),
            mega(*pyramid),
            format!("{:.1} s", course.seconds),
        ]);
    }
    if let Some(ground) = all.first().map(|one| one.segmented.constant(0)) {
        let mut row = vec!["all background".to_owned(), percent(ground.mean_iou), percent(ground.right)];
        row.resize(heads.len() + 1, String::new());
        table.row(row);
    }
    format!("{count} test scenes of garments that no training scene has\n\n{}", table.text())
}

#[cfg(feature = "plot")]
fn draw(machine: &Machine, all: &[Learned], test: &Images, folder: &Folder) -> Result<Vec<PathBuf>, Error> {
    let page = super::picture::scene_sheet(machine, all, test)?;
    let losses: Vec<&[f32]> = all.iter().map(|learned| &learned.course.losses[..]).collect();
    let mut files = vec![folder.write("scenes.png", &page)?];
    for (learned, losses) in all.iter().zip(losses) {
        let curve = super::picture::loss_curve(losses)?;
        files.push(folder.write(&format!("{}-loss.svg", learned.network.name()), curve.as_bytes())?);
    }
    Ok(files)
}

#[cfg(not(feature = "plot"))]
fn draw(_: &Machine, _: &[Learned], _: &Images, _: &Folder) -> Result<Vec<PathBuf>, Error> {
    speak::note("vistok: built without the feature `plot`: no pictures");
    Ok(Vec::new())
}
