//! `vistok tune`: finds the fastest way of cutting each product of a model on this GPU, and keeps it for later runs.

use clap::Args;
use serde_json::{Value, json};
use vistok::kernel::Capabilities;
use vistok::kernel::tuning::Choices;
use vistok::kernel::tuning::gemm::Engine;
use vistok::tune::{Store, Tuned, tune};

use super::machine::{Machine, MachineArgument, cache_folder};
use super::progress::Progress;
use super::subject::SubjectArguments;
use super::table::{Align, Table};
use super::{Error, speak};

/// Find the fastest tiles for every product of a model on this GPU; demo, train, eval, bench and profile use them from then
/// on.
///
/// Every way of cutting is proven on the shape itself before it is timed. What is found is kept for this adapter and
/// driver beside the compiled pipelines; `--untuned` leaves it out. Results stay right either way, but are rounded in
/// other places.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// One JSON document on standard output: `file` and `products`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Tunes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let model = arguments.subject.model()?;
    let subject = arguments.subject.of(&*model);
    let folder = cache_folder()
        .ok_or_else(|| Error::Refused("there is no folder for caches: set XDG_CACHE_HOME or HOME".to_owned()))?;
    let (graph, _) = subject.graph()?;
    let (machine, (store, mut choices, all)) = Machine::prepare(&arguments.machine, |machine| {
        // Before minutes are spent: can what is found be added to what is there?
        let store = Store::of(&machine.device, &folder);
        let choices = store.read()?;
        let mut progress: Option<Progress> = None;
        let found = tune(&machine.device, &machine.pipelines, &[&graph], &mut |tuned, count| {
            progress.get_or_insert_with(|| Progress::new("tuning", 0, count as u64)).advance(&tuned.asked);
        });
        if let Some(progress) = progress {
            progress.finish();
        }
        Ok((store, choices, found?))
    })?;
    keep(&mut choices, &all, machine.device.capabilities());
    store.write(&choices)?;
    let file = store.path().display().to_string();
    let text = format!("{}\n\n{}\nWritten:\n  {file}\n", machine.name(), table(&all));
    speak::report(arguments.json, &text)?;
    if arguments.json {
        speak::say_json(&document(machine.name(), &file, &all))?;
    }
    match all.iter().filter(|tuned| tuned.usual.is_err()).count() {
        0 => Ok(()),
        wrong => Err(Error::Refused(format!(
            "{wrong} products could not be proven, the output says why; run `vistok verify`"
        ))),
    }
}

/// What won takes its place; where nothing beats the usual way any more, that is taken again. What could
/// not be tried stays as it was, and so does what was found with cooperative matrices, if this run had to go on without.
fn keep(choices: &mut Choices, all: &[Tuned], machine: &Capabilities) {
    let stays = |tuned: &&Tuned| {
        let known = choices.get(&tuned.asked).map(|tiles| tiles.engine);
        machine.fragment.is_none() && matches!(known, Some(Engine::Cooperative(..)))
    };
    let found: Vec<&Tuned> = all.iter().filter(|tuned| tuned.usual.is_ok() && !stays(tuned)).collect();
    for tuned in found {
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
        let usual = match &tuned.usual {
            Ok(time) => time.map_or("not timed".to_owned(), |time| format!("{:.1} us", time.as_secs_f64() * 1e6)),
            Err(reason) => reason.clone(),
        };
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
            "usual_us": tuned.usual.as_ref().ok().copied().flatten().map(|time| time.as_secs_f64() * 1e6),
            "usual_wrong": tuned.usual.as_ref().err(),
            "chosen": tuned.best().map(|(tiles, _)| tiles.to_string()),
            "tried": tried,
        })
    };
    json!({ "adapter": adapter, "file": file, "products": all.iter().map(product).collect::<Vec<_>>() })
}
