//! The search as it runs: who is timed how often, and what a run that is stopped leaves.

use std::ops::ControlFlow;
use std::time::Duration;

use libtest_mimic::Failed;
use vistok::gpu::{Bare, Device, Pipelines};
use vistok::graph::{Graph, Tensor};
use vistok::kernel::tuning::gemm::Tiles;
use vistok::kernel::{Capabilities, Fragment};
use vistok::ops::MatMul;
use vistok::tune::{Product, Store, search, search_all};

use super::{Outcome, convolution, ensure, only, ways};

/// What is far behind is sampled twice, what is a little behind some more, and what is near as often as the usual way.
pub(super) fn early_drop(device: &Device) -> Outcome {
    let product = only(&convolution(false)?, device)?;
    let ways = ways(device, &product)?;
    let [near, behind, far, ..] = ways[..] else { return Err("there is little to choose from".into()) };
    let mut samples: Vec<(Option<Tiles>, usize)> = Vec::new();
    let mut gpu = Duration::ZERO;
    let tuned = search(device, &Pipelines::new(device, None), &product, &mut |_, tiles, runs| {
        match samples.iter_mut().find(|(known, _)| *known == tiles) {
            Some((_, count)) => *count += 1,
            None => samples.push((tiles, 1)),
        }
        let each = match tiles {
            Some(tiles) if tiles == near => 980,
            Some(tiles) if tiles == behind => 1200,
            Some(tiles) if tiles == far => 1600,
            _ => 1000,
        };
        let time = Duration::from_micros(each * runs as u64);
        gpu += time;
        Ok(time)
    })?;
    let count = |tiles: Tiles| samples.iter().find(|(known, _)| *known == Some(tiles)).map_or(0, |(_, count)| *count);
    // One that says how many runs a sample takes, and then a round each.
    let found = [near, behind, far].map(count);
    ensure(found[0] > 3 && found[1] == 1 + 3 && found[2] == 1 + 1, format!("{found:?} samples"))?;
    let speed = |tiles: Tiles| tuned.tried.iter().find(|tried| tried.tiles == tiles).map(|tried| tried.speed.clone());
    let close =
        |tiles, wanted: f64| speed(tiles).is_some_and(|speed| speed.is_ok_and(|speed| (speed - wanted).abs() < 1e-9));
    ensure(close(near, 1.0 / 0.98) && close(behind, 1.0 / 1.2) && close(far, 1.0 / 1.6), format!("{:?}", tuned.tried))?;
    // Warm-up, then the budget, then what no budget cuts short: three rounds.
    ensure(gpu < Duration::from_millis(700), format!("{gpu:?} of the GPU's time"))
}

/// Several products; the search is ended after the second, and what it found was kept.
pub(super) fn resumed(device: &Device) -> Outcome {
    let mut graph = Graph::new();
    for size in [20, 40, 60, 80] {
        let [a, b] = ["a", "b"].map(|name| graph.input(format!("{name}{size}"), Tensor::f32([size, size])));
        let y = graph.apply_one(MatMul::new(), &[a, b])?;
        graph.output(format!("y{size}"), y);
    }
    let (folder, machine) = (tempfile::tempdir()?, device.capabilities());
    let store = Store::of(device, folder.path());
    let pipelines = Pipelines::new(device, None);
    // A product's fastest way, as a clock sees that favors every way but the usual one.
    let run = |most: usize, quick: u64| -> Result<Vec<String>, Failed> {
        let mut found = store.read()?;
        let products = Product::all(&graph, machine).into_iter();
        let news: Vec<Product> = products.filter(|product| !found.knows(&product.asked(), machine)).collect();
        let (mut asked, mut kept) = (Vec::new(), Ok(()));
        let mut clock = |_: &Bare<'_>, tiles: Option<Tiles>, runs: usize| {
            Ok(Duration::from_micros(if tiles.is_some() { quick } else { 1000 } * runs as u64))
        };
        search_all(device, &pipelines, &news, &mut clock, &mut |tuned| {
            found.keep(&tuned, machine);
            kept = store.write(&found);
            asked.push(tuned.asked);
            if asked.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        kept?;
        Ok(asked)
    };
    let all: Vec<String> = Product::all(&graph, machine).iter().map(Product::asked).collect();
    ensure(all.len() == 4, format!("{all:?}"))?;
    ensure(run(2, 500)? == all[..2], "it did not end after two")?;
    ensure(store.read()?.choices.len() == 2, "what was found was not kept")?;
    // Now the usual way wins: that is known from then on, too.
    ensure(run(9, 2000)? == all[2..], "it did not go on with the others")?;
    let found = store.read()?;
    ensure(found.choices.len() == 2 && all.iter().all(|asked| found.knows(asked, machine)), format!("{found:?}"))?;
    ensure(run(9, 500)?.is_empty(), "what is known was tried again")?;
    let cooperative = Capabilities { fragment: Some(Fragment::Sixteen), ..machine.clone() };
    let news = machine.fragment == Some(Fragment::Sixteen) || !found.knows(&all[0], &cooperative);
    ensure(news, "nobody tried it with cooperative matrices")
}
