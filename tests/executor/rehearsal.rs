//! The rehearsal device takes everything and gives nothing.

use libtest_mimic::Failed;
use vistok::gpu::{Device, Error, Pipelines};
use vistok::graph::Graph;

use super::programs::{Take, program};
use super::{Bench, Outcome, ensure, fill};

fn rehearsal() -> Result<Bench, Failed> {
    let device = Device::rehearsal()?;
    Ok(Bench { pipelines: Pipelines::new(&device, None), device })
}

pub(crate) fn takes_programs() -> Outcome {
    let bench = rehearsal()?;
    for seed in 0..50 {
        let graph = program(seed, 40)?;
        let executor = bench.executor(&graph, true)?;
        fill(&executor, &graph)?;
        executor.run()?;
        bench.device.wait("rehearsing")?;
    }
    Ok(())
}

pub(crate) fn gives_nothing() -> Outcome {
    let bench = rehearsal()?;
    let mut graph = program(1, 20)?;
    let far = graph.apply_one(Take(100_000), &[input(&graph, "x")?])?;
    graph.output("far", far);
    let executor = bench.executor(&graph, true)?;
    let nothing = |found: Result<(), Error>| ensure(matches!(found, Err(Error::Rehearsal)), || format!("{found:?}"));
    nothing(executor.read_named("far").map(|_| ()))?;
    nothing(pollster::block_on(executor.read_async(far)).map(|_| ()))?;
    nothing(executor.run_timed().map(|_| ()))?;
    nothing(executor.run_timed_whole().map(|_| ()))?;
    nothing(executor.first_bad_value().map(|_| ()))?;
    nothing(executor.homes().snapshot().map(|_| ()))?;
    nothing(executor.homes().read_f32("parameters", "bias").map(|_| ()))
}

fn input(graph: &Graph, name: &str) -> Result<vistok::graph::Value, Failed> {
    graph.find_input(name).ok_or_else(|| Failed::from(format!("no input {name}")))
}
