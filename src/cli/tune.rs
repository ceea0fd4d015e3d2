//! `vistok tune`: finds the fastest way of cutting each product of a model on this GPU, and keeps it for later runs.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::{Value, json};
use vistok::graph::Graph;
use vistok::tune::{Product, Store, Tuned, tunable, tune};

use super::interrupt::stop_flag;
use super::machine::{Machine, MachineArgument, cache_folder};
use super::progress::Progress;
use super::subject::SubjectArguments;
use super::table::{Align, Table};
use super::{Error, speak};

/// Find the fastest tiles for every product of a model on this GPU; demo, train, eval, bench and profile use them from then
/// on.
///
/// Every way of cutting is proven on the shape itself before it is timed. What is found is kept for this adapter and
/// driver beside the compiled pipelines, product by product: a run that is stopped (ctrl-c ends it after the present
/// product) goes on where it was when it is started again. `--untuned` leaves out what was found. Results stay right either way, but are rounded in
/// other places.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// Measure anew what is known already.
    #[arg(long)]
    again: bool,
    /// One JSON document on standard output: `file`, `known`, `left` and `products`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// What a run found, and what it left.
struct Run {
    file: String,
    all: Vec<Tuned>,
    /// Products whose best way was known before.
    known: usize,
    /// Products that are left, where the run was ended.
    left: usize,
}

/// Tunes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let model = arguments.subject.model()?;
    let subject = arguments.subject.of(&*model);
    let folder = cache_folder()
        .ok_or_else(|| Error::Refused("there is no folder for caches: set XDG_CACHE_HOME or HOME".to_owned()))?;
    let (graph, _) = subject.graph()?;
    let stop = stop_flag();
    let (machine, run) =
        Machine::prepare(&arguments.machine, |machine| tuned(machine, (&graph, &folder), arguments.again, stop))?;
    let Run { file, all, known, left } = &run;
    let mut text = format!("{}\n\n{}\nWritten:\n  {file}\n", machine.name(), table(all));
    if *known > 0 {
        text += &format!("\n{known} more were known already; --again measures them anew\n");
    }
    if *left > 0 {
        text += &format!("\nStopped: {left} are left; the same command goes on with them\n");
    }
    speak::report(arguments.json, &text)?;
    if arguments.json {
        speak::say_json(&document(machine.name(), &run))?;
    }
    match all.iter().filter(|tuned| tuned.usual.is_err()).count() {
        0 => Ok(()),
        wrong => Err(Error::Refused(format!(
            "{wrong} products could not be proven, the output says why; run `vistok verify`"
        ))),
    }
}

/// Tunes what is not known yet, and keeps each product's best way when it is found, so that whatever ends the run leaves it.
fn tuned(machine: &Machine, (graph, folder): (&Graph, &Path), again: bool, stop: &AtomicBool) -> Result<Run, Error> {
    let capabilities = machine.device.capabilities();
    tunable(&machine.device)?;
    let store = Store::of(&machine.device, folder);
    let mut found = store.read()?;
    // Before minutes are spent: can it be written?
    store.write(&found)?;
    let products = Product::all(graph, capabilities);
    let every = products.len();
    let news: Vec<Product> =
        products.into_iter().filter(|product| again || !found.knows(&product.asked(), capabilities)).collect();
    let known = every - news.len();
    let progress = Progress::new("tuning", 0, news.len() as u64);
    if known > 0 {
        speak::note(&format!("vistok: of {every} products {known} are known already"));
    }
    let (mut all, mut kept) = (Vec::with_capacity(news.len()), Ok(()));
    let searched = tune(&machine.device, &machine.pipelines, &news, &mut |tuned| {
        found.keep(&tuned, capabilities);
        kept = store.write(&found);
        progress.advance(&tuned.asked);
        all.push(tuned);
        let end = kept.is_err() || stop.load(Ordering::Relaxed);
        if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    searched?;
    kept?;
    let (file, left) = (store.path().display().to_string(), news.len() - all.len());
    Ok(Run { file, all, known, left })
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

fn document(adapter: &str, run: &Run) -> Value {
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
    let Run { file, all, known, left } = run;
    let products: Vec<Value> = all.iter().map(product).collect();
    json!({ "adapter": adapter, "file": file, "known": known, "left": left, "products": products })
}
