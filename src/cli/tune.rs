//! `vistok tune`: finds the fastest way of cutting each product of a model on this GPU, and keeps it for later runs.

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::{ModelSubject, Task};
use vistok::kernel::tuning::Choices;
use vistok::tune::{Store, Tuned, tune};

use super::learning::elem;
use super::machine::{Machine, MachineArgument, cache_folder};
use super::progress::Progress;
use super::table::{Align, Table};
use super::{Error, presets, speak};

/// Find the fastest tiles for every product of a model on this GPU; all commands use them from then on.
///
/// Every way of cutting is proven on the shape itself before it is timed. What is found is kept for this adapter and
/// driver beside the compiled pipelines; `--untuned` leaves it out. Results stay right either way, but are rounded in
/// other places.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A model, such as resnet50 or vt-resnet18.
    model: String,
    /// Tune a step of training. Without, inference.
    #[arg(long)]
    train: bool,
    /// For images and weights in f16.
    #[arg(long)]
    f16: bool,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Height, width and channels of the images [default: 28x28x1 for the demo's model, 224x224x3 for the others].
    #[arg(long, value_name = "HxWxC", value_parser = presets::image)]
    image: Option<[usize; 3]>,
    /// One JSON document on standard output: `file` and `products`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Tunes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let default = presets::default(&arguments.model, presets::IMAGENET);
    let model = presets::model(&arguments.model, default.classes)?;
    let [height, width, channels] = arguments.image.unwrap_or(default.image);
    let subject = ModelSubject {
        model: &*model,
        images: [arguments.batch as usize, height, width, channels],
        elem: elem(arguments.f16),
        task: if arguments.train { Task::Training } else { Task::Forward },
    };
    let folder = cache_folder()
        .ok_or_else(|| Error::Refused("there is no folder for caches: set XDG_CACHE_HOME or HOME".to_owned()))?;
    let (graph, _) = subject.graph()?;
    let (machine, all) = Machine::prepare(&arguments.machine, |machine| {
        let mut progress: Option<Progress> = None;
        let found = tune(&machine.device, &machine.pipelines, &[&graph], &mut |tuned, count| {
            progress.get_or_insert_with(|| Progress::new("tuning", 0, count as u64)).advance(&tuned.asked);
        });
        if let Some(progress) = progress {
            progress.finish();
        }
        Ok(found?)
    })?;
    let store = Store::of(&machine.device, &folder);
    let mut choices = store.read()?;
    keep(&mut choices, &all);
    store.write(&choices)?;
    let file = store.path().display().to_string();
    let text = format!("{}\n\n{}\nWritten:\n  {file}\n", machine.name(), table(&all));
    speak::report(arguments.json, &text)?;
    match arguments.json {
        true => speak::say_json(&document(machine.name(), &file, &all)),
        false => Ok(()),
    }
}

/// What won takes its place; where nothing beats the usual way any more, that is taken again.
fn keep(choices: &mut Choices, all: &[Tuned]) {
    for tuned in all {
        match tuned.best() {
            Some((tiles, _)) => choices.set(tuned.asked.clone(), tiles),
            None => choices.unset(&tuned.asked),
        }
    }
}

fn table(all: &[Tuned]) -> String {
    let columns = [
        ("product", Align::Left),
        ("usual", Align::Right),
        ("fastest", Align::Left),
        ("times as fast", Align::Right),
        ("refused", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for tuned in all {
        let usual = tuned.usual.map_or("wrong".to_owned(), |time| format!("{:.1} us", time.as_secs_f64() * 1e6));
        let (tiles, speed) = tuned.best().map_or(("as usual".to_owned(), String::new()), |(tiles, speed)| {
            (tiles.to_string(), format!("{speed:.2}"))
        });
        let refused =
            tuned.tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.tiles, tried.speed.as_ref().err()?)));
        table.row(vec![tuned.asked.clone(), usual, tiles, speed, refused.collect::<Vec<_>>().join("; ")]);
    }
    table.text()
}

fn document(adapter: &str, file: &str, all: &[Tuned]) -> Value {
    let product = |tuned: &Tuned| {
        let tried: Vec<Value> = tuned
            .tried
            .iter()
            .map(|tried| {
                let (speed, reason) = (tried.speed.as_ref().ok(), tried.speed.as_ref().err());
                json!({ "tiles": tried.tiles.to_string(), "times_as_fast": speed, "refused": reason })
            })
            .collect();
        json!({
            "asked": tuned.asked,
            "usual_us": tuned.usual.map(|time| time.as_secs_f64() * 1e6),
            "chosen": tuned.best().map(|(tiles, _)| tiles.to_string()),
            "tried": tried,
        })
    };
    json!({ "adapter": adapter, "file": file, "products": all.iter().map(product).collect::<Vec<_>>() })
}
