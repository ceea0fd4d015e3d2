//! Tuning: a way of cutting is proven before it is timed, the fastest is taken by plans, and kept for this machine alone.
//!
//! Clocks are made up here, so that a CPU can say who would have won. Without an adapter these tests are listed as
//! ignored; with `REQUIRE_GPU=1` they fail.

mod running;
mod shared;

use std::fs;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Bare, Device, Error, OpenOptions, Pipelines};
use vistok::graph::{Draw, Graph, Io, Maths, Op, Source, Tensor, Value, numbers};
use vistok::kernel::tuning::Choices;
use vistok::kernel::tuning::gemm::{Engine, Tiles};
use vistok::kernel::{Elem, Fragment, Grid, Recording};
use vistok::ops::{BatchNormFixed, Conv2d, ConvNorm, MatMul};
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::{Array, Random, Real};
use vistok::tune::{Found, Product, Store, StoreError, TuneError, search, tune};
use vistok::verify::compare_whole;

type Outcome = Result<(), Failed>;
type Test = fn(&Device) -> Outcome;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 11] = [
        ("the fastest way is taken by plans, and is right", fastest),
        ("what is wrong is never timed", wrong),
        ("nothing is tried where the usual way is wrong", usual_wrong),
        ("sums of any length stay exact", long_sums),
        ("little faster is not faster", chance),
        ("tables are of one machine", store),
        ("tiles that nobody knows are passed over", unknown_tiles),
        ("the machine's own clock", own_clock),
        ("what falls behind is timed little", running::early_drop),
        ("a run that is stopped goes on where it was", running::resumed),
        ("memory that ways share proves them", shared::memory),
    ];
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    let adapter = Device::open(&options).map_err(|error| error.to_string());
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let trials = tests.map(|(name, test)| match (&adapter, required) {
        (Ok(device), _) => {
            let device = device.clone();
            Trial::test(name, move || test(&device))
        }
        (Err(reason), true) => {
            let reason = reason.clone();
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        (Err(_), false) => Trial::test(name, || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn ensure(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(otherwise.into())) }
}

/// y = a b, of sizes that every way of cutting sticks out of.
fn graph(op: impl Op) -> Result<Graph, Failed> {
    let mut graph = Graph::new();
    let [a, b] = [("a", [130, 70]), ("b", [70, 100])].map(|(name, shape)| graph.input(name, Tensor::f32(shape)));
    let y = graph.apply_one(op, &[a, b])?;
    graph.output("y", y);
    Ok(graph)
}

fn only(graph: &Graph, device: &Device) -> Result<Product, Failed> {
    let mut all = Product::all(graph, device.capabilities());
    ensure(all.len() == 1, format!("{} products", all.len()))?;
    Ok(all.remove(0))
}

/// The ways that a product has beside the usual one: known from asking a clock that never ends.
fn ways(device: &Device, product: &Product) -> Result<Vec<Tiles>, Failed> {
    let found = search(device, &Pipelines::new(device, None), product, &mut |_, _, _| Ok(Duration::from_millis(1)))?;
    Ok(found.tried.into_iter().map(|tried| tried.tiles).collect())
}

/// A clock by which the usual way takes 1 ms a run, one other `quick` microseconds, and the rest 5 ms.
fn clock(winner: Tiles, quick: u64) -> impl FnMut(&Bare<'_>, Option<Tiles>, usize) -> Result<Duration, Error> {
    move |_, tiles, runs| {
        let each = match tiles {
            None => 1000,
            Some(tiles) if tiles == winner => quick,
            Some(_) => 5000,
        };
        Ok(Duration::from_micros(each * runs as u64))
    }
}

fn plan(graph: &Graph, device: &Device) -> Result<Plan, Failed> {
    let layout = Layout::of(&[graph], device.capabilities().offset_alignment)?;
    Ok(Plan::new(graph, &layout, device.capabilities(), Options::default())?)
}

/// A deep convolution of few pixels, alone or with what follows it in a network.
fn convolution(normed: bool) -> Result<Graph, Failed> {
    let mut graph = Graph::new();
    let [x, weight] =
        [("x", [1, 5, 4, 40]), ("weight", [3, 3, 40, 12])].map(|(name, shape)| graph.input(name, Tensor::f32(shape)));
    let conv = Conv2d::new(1, 1);
    let y = if normed {
        let vectors = ["gain", "bias", "mean", "variance"].map(|name| graph.input(name, Tensor::f32([12])));
        graph.apply_one(ConvNorm::new(conv, BatchNormFixed::new(1e-5)), &[&[x, weight], &vectors[..]].concat())?
    } else {
        graph.apply_one(conv, &[x, weight])?
    };
    graph.output("y", y);
    Ok(graph)
}

fn fastest(device: &Device) -> Outcome {
    for (graph, slices) in [(graph(MatMul::new())?, false), (convolution(false)?, true), (convolution(true)?, true)] {
        let ways = ways(device, &only(&graph, device)?)?;
        ensure(ways.len() > 1, "there is little to choose from")?;
        ensure(ways.iter().any(|tiles| tiles.slices > 1) == slices, format!("{ways:?}"))?;
        for winner in ways {
            wins(device, &graph, winner)?;
        }
    }
    Ok(())
}

/// The way that is fastest by the clock is the one that plans take, and right.
fn wins(device: &Device, graph: &Graph, winner: Tiles) -> Outcome {
    let (product, pipelines) = (only(graph, device)?, Pipelines::new(device, None));
    let tuned = search(device, &pipelines, &product, &mut clock(winner, 500))?;
    ensure(tuned.usual == Ok(Some(Duration::from_millis(1))), "the usual way has another time")?;
    ensure(tuned.tried.iter().all(|tried| tried.speed.is_ok()), format!("{:?}", tuned.tried))?;
    let (best, speed) = tuned.best().ok_or("nothing won")?;
    ensure(best == winner && (speed - 2.0).abs() < 1e-9, format!("{best} won by {speed}"))?;

    let mut choices = Choices::default();
    choices.set(tuned.asked, best);
    let usual = plan(graph, device)?;
    let mut device = device.clone();
    device.set_choices(choices);
    let chosen = plan(graph, &device)?;
    let text = chosen.to_string();
    ensure(chosen != usual, "the plan is what it was")?;
    ensure(text.contains(&format!("tile_m={} ", best.tile[0])), format!("the plan does not say so: {text}"))?;
    ensure(text.contains("add_slices") == (best.slices > 0), format!("the plan is not in slices: {text}"))?;
    let leaf = |value: Value, source: &Source| {
        let variance = matches!(source, Source::Input(name) if name == "variance");
        let draw = if variance { Draw::Between(0.5, 2.0) } else { Draw::Normal };
        numbers(&graph.tensor(value).shape, draw, &mut Random::named(3, &format!("{source:?}")))
    };
    let whole = compare_whole(&device, &pipelines, graph, &leaf, Options::default())?;
    ensure(whole.passed(), whole.fault().unwrap_or_default())
}

/// A product that leaves most of its result unwritten when it is cut in tiles of one size; or, of none, as usual.
#[derive(Clone, Debug)]
struct Short {
    product: MatMul,
    rows: Option<usize>,
}

impl Op for Short {
    fn name(&self) -> &'static str {
        "short"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self.product.outputs(inputs)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        self.product.record(io, out);
        if io.machine.tiles.map(|tiles| tiles.tile[0]) == self.rows {
            out.dispatches[0].grid = Grid([1, 1, 1]);
        }
    }
}

impl Maths for Short {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.product.maths(inputs)
    }
}

fn wrong(device: &Device) -> Outcome {
    let right = only(&graph(MatMul::new())?, device)?;
    let bad = ways(device, &right)?.into_iter().find(|tiles| tiles.tile[0] < 128).ok_or("no way to spoil")?;
    let graph = graph(Short { product: MatMul::new(), rows: Some(bad.tile[0]) })?;
    let product = only(&graph, device)?;
    let mut timed = Vec::new();
    let tuned = search(device, &Pipelines::new(device, None), &product, &mut |_, tiles, runs| {
        timed.extend(tiles);
        Ok(Duration::from_micros(10 * runs as u64))
    })?;
    let spoiled = tuned.tried.iter().find(|tried| tried.tiles == bad).ok_or("it was not tried")?;
    let reason = spoiled.speed.clone().err().ok_or("it was timed")?;
    ensure(reason.contains("by plain arithmetic"), reason)?;
    ensure(!timed.contains(&bad) && !timed.is_empty(), format!("{timed:?} were timed"))?;
    ensure(tuned.best().is_none_or(|(tiles, _)| tiles != bad), "what is wrong has won")
}

fn usual_wrong(device: &Device) -> Outcome {
    let product = only(&graph(Short { product: MatMul::new(), rows: None })?, device)?;
    let tuned = search(device, &Pipelines::new(device, None), &product, &mut |_, _, _| Ok(Duration::from_millis(1)))?;
    let reason = tuned.usual.clone().err().ok_or("the usual way was taken for right")?;
    ensure(reason.contains("proves nothing") && tuned.tried.is_empty() && tuned.best().is_none(), reason)
}

fn long_sums(device: &Device) -> Outcome {
    for elem in if device.capabilities().f16 { &[Elem::F16, Elem::F32][..] } else { &[Elem::F32] } {
        let mut graph = Graph::new();
        let [a, b] = [("a", [30_000, 24]), ("b", [30_000, 40])]
            .map(|(name, shape)| graph.input(name, Tensor::new(shape, *elem)));
        let y = graph.apply_one(MatMul { transpose_a: true, transpose_b: false }, &[a, b])?;
        graph.output("y", y);
        let product = only(&graph, device)?;
        let tuned =
            search(device, &Pipelines::new(device, None), &product, &mut |_, _, _| Ok(Duration::from_millis(1)))?;
        ensure(tuned.usual.is_ok() && tuned.tried.iter().all(|tried| tried.speed.is_ok()), format!("{tuned:?}"))?;
    }
    Ok(())
}

fn chance(device: &Device) -> Outcome {
    let product = only(&graph(MatMul::new())?, device)?;
    let winner = ways(device, &product)?[0];
    for (quick, wins) in [(990, false), (1000, false), (900, true)] {
        let tuned = search(device, &Pipelines::new(device, None), &product, &mut clock(winner, quick))?;
        ensure(tuned.best().is_some() == wins, format!("{quick} against 1000: {:?}", tuned.best()))?;
    }
    Ok(())
}

fn store(device: &Device) -> Outcome {
    let folder = tempfile::tempdir()?;
    let store = Store::of(device, &folder.path().join("not/there/yet"));
    ensure(store.read()? == Found::default(), "a table that is not there")?;
    let mut choices = Choices::default();
    let all = Tiles::all(device.capabilities(), Elem::F32);
    all.iter().for_each(|tiles| choices.set(format!("MatMul in \"{tiles}\""), *tiles));
    let mut found = store.read()?;
    found.choices = choices;
    store.write(&found)?;
    ensure(store.read()? == found, "what was written is not what is read")?;
    store.write(&Found::default())?;
    ensure(store.read()? == Found::default(), "the first table is still there")?;

    store.write(&found)?;
    let text = fs::read_to_string(store.path())?;
    let machine = device.machine();
    fs::write(store.path(), text.replace(&machine, "another GPU"))?;
    let told = store.read().err().ok_or("a table of another machine was read")?;
    ensure(matches!(told, StoreError::Elsewhere { .. }) && told.to_string().contains(&machine), told.to_string())?;
    for bent in [&text[..text.len() / 2], "", "[]", &text.replace("tile", "title"), "{\"machine\": 3}"] {
        fs::write(store.path(), bent)?;
        let told = store.read().err().ok_or("a bent table was read")?;
        ensure(matches!(told, StoreError::Format { .. }), format!("{bent:?}: {told}"))?;
    }
    fs::write(folder.path().join("file"), "")?;
    let blocked = Store::of(device, &folder.path().join("file"));
    let told = blocked.write(&found).err().ok_or("written into a file")?;
    ensure(matches!(told, StoreError::Io { .. }), told.to_string())
}

/// Tables and checkpoints come from outside.
fn unknown_tiles(device: &Device) -> Outcome {
    let graph = graph(MatMul::new())?;
    let (mut device, usual) = (device.clone(), plan(&graph, device)?);
    let asked = only(&graph, &device)?.asked();
    let known = Tiles::all(device.capabilities(), Elem::F32)[0];
    let cooperative = Engine::Cooperative(Fragment::Sixteen, 32);
    let unknown = [
        Tiles { tile: [64, 64, 32], share: [2, 2], engine: cooperative, ..known },
        Tiles { share: [0, 0], ..known },
        Tiles { tile: [0, 64, 16], ..known },
        Tiles { tile: [96, 64, 16], ..known },
        Tiles { tile: [1 << 40, 64, 16], ..known },
        Tiles { slices: usize::MAX, ..known },
    ];
    for tiles in unknown {
        let mut choices = Choices::default();
        choices.set(asked.clone(), tiles);
        device.set_choices(choices);
        ensure(plan(&graph, &device)? == usual, format!("f32 was given {tiles:?}"))?;
    }
    Ok(())
}

/// On a GPU everything is timed; on a CPU nothing is.
fn own_clock(device: &Device) -> Outcome {
    let graph = graph(MatMul::new())?;
    let products = Product::of_graphs(&[&graph, &graph], device.capabilities());
    ensure(products.len() == 1, "a product was taken twice")?;
    let mut all = Vec::new();
    let found = tune(device, &Pipelines::new(device, None), &products, &mut |tuned| {
        all.push(tuned);
        ControlFlow::Continue(())
    });
    match found {
        Err(TuneError::Software { .. }) => {
            ensure(device.capabilities().software && all.is_empty(), "a GPU was refused")
        }
        Err(TuneError::NoClock { .. }) => ensure(!device.has_timestamps(), "it has a clock"),
        Err(error) => Err(error.into()),
        Ok(()) => {
            ensure(!device.capabilities().software && all.len() == 1, format!("{all:?}"))?;
            let timed = matches!(all[0].usual, Ok(Some(_))) && all[0].tried.iter().all(|tried| tried.speed.is_ok());
            ensure(timed, format!("{all:?}"))
        }
    }
}
