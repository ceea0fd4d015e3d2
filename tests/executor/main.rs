//! Plans on a GPU: slots reused or not, runs repeated, homes shared, buffers of the host, times, and planted faults.
//!
//! Without an adapter these tests are listed as ignored; with `REQUIRE_GPU=1` they fail. Those that
//! need none always run.

mod adopted;
mod hosts;
mod parts;
#[path = "../programs/mod.rs"]
mod programs;
mod rehearsal;
mod training;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use programs::{Decay, Mirror, program};
use vistok::gpu::{Device, Error, Executor, Homes, OpenOptions, Pipelines};
use vistok::graph::{Graph, Source, Tensor, interpret};
use vistok::kernel::Elem;
use vistok::ops::Add;
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::{Array, Random};
use vistok::wgpu;

type Outcome = Result<(), Failed>;
type Check = fn(&Bench) -> Outcome;

struct Bench {
    device: Device,
    pipelines: Pipelines,
}

const HALVES: &str = "f16 tensors take and give floats";
const OUT_OF_MEMORY: &str = "memory that does not suffice is named";

const CHECKS: [(&str, Check); 18] = [
    ("slots reused or not give equal bits, and what the interpreter gives", reuse_changes_nothing),
    ("running twice gives equal bits", runs_repeat),
    ("two plans share homes", plans_share_homes),
    ("homes are written, read, kept and put back", homes_keep),
    (HALVES, halves),
    ("buffers of the host stand for inputs and outputs", hosts::host_buffers),
    ("buffers of the host that do not fit are refused", hosts::wrong_host_buffers),
    ("a plan is recorded between two copies of the host", hosts::encodes_between_copies),
    ("every step has a time", timed),
    ("a planted NaN is found where it appears first", planted_nan),
    ("a network learns, slots reused or not, as the interpreter says", training::learns),
    ("reading need not block", reads_async),
    ("steps are timed in passes of their own where they must", adopted::times_in_passes_of_their_own),
    ("a workgroup too large is refused before the driver sees it", adopted::large_workgroups_are_refused),
    (OUT_OF_MEMORY, adopted::memory_that_does_not_suffice_is_named),
    ("wrong names and sizes are refused", wrong_names),
    ("ops that compute images by themselves give equal bits in parts", parts::every_op),
    ("networks give the same where bindings hold no batch", parts::whole_networks),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    let bench =
        Device::open(&options).map(|device| Arc::new(Bench { pipelines: Pipelines::new(&device, None), device }));
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let mut trials = vec![
        Trial::test("the rehearsal device takes every program", rehearsal::takes_programs),
        Trial::test("the rehearsal device gives nothing", rehearsal::gives_nothing),
        Trial::test("the rehearsal device takes batches in parts", parts::wgpu_takes_parts),
        Trial::test("parts take the tiles of the whole batch", parts::parts_take_the_tiles_of_the_whole),
        Trial::test("what cannot be cut is refused with the batch that fits", parts::what_cannot_be_cut_is_refused),
        Trial::test("buffers beyond the limit are refused", adopted::buffers_beyond_the_limit_are_refused),
    ];
    for (name, check) in CHECKS {
        trials.push(match &bench {
            Ok(bench) if name == OUT_OF_MEMORY && adopted::without_memory(bench).is_none() => {
                Trial::test(format!("{name} (the driver keeps no budget)"), || Ok(())).with_ignored_flag(true)
            }
            Ok(bench) if name == HALVES && !bench.device.capabilities().f16 => {
                Trial::test(format!("{name} (the adapter has no f16)"), || Ok(())).with_ignored_flag(true)
            }
            Ok(bench) => {
                let bench = bench.clone();
                Trial::test(name, move || check(&bench))
            }
            Err(error) if required => {
                let reason = error.to_string();
                Trial::test(name, move || Err(Failed::from(reason)))
            }
            Err(_) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
        });
    }
    // For whoever checks that a validation layer is there and reports.
    if let (Ok(bench), Some(_)) = (&bench, std::env::var_os("VISTOK_PLANT")) {
        let bench = bench.clone();
        trials.push(Trial::test("planted: the driver gets a workgroup too large", move || adopted::plants(&bench)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(what())) }
}

impl Bench {
    fn plan(&self, graph: &Graph, layout: &Layout, reuse: bool) -> Result<Plan, Failed> {
        Ok(Plan::new(graph, layout, self.device.capabilities(), Options { reuse, rows: reuse })?)
    }

    fn executor(&self, graph: &Graph, reuse: bool) -> Result<Executor, Failed> {
        let layout = Layout::of(&[graph], self.device.capabilities().offset_alignment)?;
        let homes = Homes::new(&self.device, &layout)?;
        Ok(Executor::new(&self.device, &self.pipelines, self.plan(graph, &layout, reuse)?, &homes)?)
    }
}

/// The same numbers for the same leaf, whatever else a graph holds.
fn leaf(graph: &Graph, value: vistok::graph::Value, source: &Source) -> Array<f32> {
    let mut random = Random::named(5, &format!("{source:?}"));
    Array::from_numbers(&graph.tensor(value).shape, std::iter::repeat_with(|| random.normal() as f32))
}

fn fill(executor: &Executor, graph: &Graph) -> Outcome {
    for value in graph.values() {
        let source = graph.source(value);
        match source {
            Source::Input(name) => executor.write_f32(name, &leaf(graph, value, source).data)?,
            Source::Stored { home, name } => {
                executor.homes().write_f32(home, name, &leaf(graph, value, source).data)?;
            }
            Source::Node(..) => {}
        }
    }
    Ok(())
}

fn outputs(executor: &Executor) -> Result<Vec<Vec<u8>>, Failed> {
    let outputs = executor.plan().outputs().iter();
    Ok(outputs.map(|output| executor.read_bytes(output.value)).collect::<Result<_, Error>>()?)
}

fn reuse_changes_nothing(bench: &Bench) -> Outcome {
    for seed in 0..20 {
        let graph = program(seed, 10 + seed as usize * 2)?;
        let mut found = Vec::new();
        for reuse in [true, false] {
            let executor = bench.executor(&graph, reuse)?;
            fill(&executor, &graph)?;
            executor.run()?;
            found.push((outputs(&executor)?, executor.homes().snapshot()?));
        }
        ensure(found[0] == found[1], || format!("program {seed}: reuse changes the bits"))?;
        let truth = interpret(&graph, |value, source| Ok::<_, Failed>(leaf(&graph, value, source)))?;
        for ((name, value), bytes) in graph.outputs().iter().zip(&found[0].0) {
            let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
            // Sums, halvings and copies of f32: a driver may contract halving and adding, so not the last bits.
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
            let right = numbers.iter().zip(&truth[value.index()].data).all(near);
            ensure(right && numbers.len() == truth[value.index()].data.len(), || format!("program {seed}: {name}"))?;
        }
    }
    Ok(())
}

fn runs_repeat(bench: &Bench) -> Outcome {
    let graph = program(7, 40)?;
    let executor = bench.executor(&graph, true)?;
    let mut found = Vec::new();
    for _ in 0..2 {
        fill(&executor, &graph)?;
        executor.run()?;
        found.push((outputs(&executor)?, executor.homes().snapshot()?));
    }
    ensure(found[0] == found[1], || "the second run gives other bits".to_owned())?;
    executor.run()?;
    ensure(executor.homes().snapshot()? != found[0].1, || "a run without refilling updates nothing".to_owned())
}

/// weight' = weight / 2 + x; and y = weight + x, on the same stored weight.
fn update_and_use() -> Result<[Graph; 2], Failed> {
    let [mut update, mut using] = [Graph::new(), Graph::new()];
    let x = update.input("x", Tensor::f32([3]));
    let weight = update.stored("parameters", "weight", Tensor::f32([3]))?;
    let next = update.apply_one(Decay, &[weight, x])?;
    update.output("weight", next);
    using.stored("statistics", "other", Tensor::f32([70]))?;
    let x = using.input("x", Tensor::f32([3]));
    let weight = using.stored("parameters", "weight", Tensor::f32([3]))?;
    let y = using.apply_one(Add, &[weight, x])?;
    using.output("y", y);
    Ok([update, using])
}

fn plans_share_homes(bench: &Bench) -> Outcome {
    let [update, using] = update_and_use()?;
    let layout = Layout::of(&[&update, &using], bench.device.capabilities().offset_alignment)?;
    let homes = Homes::new(&bench.device, &layout)?;
    let executor = |graph: &Graph| -> Result<Executor, Failed> {
        let plan = bench.plan(graph, &layout, true)?;
        Ok(Executor::new(&bench.device, &bench.pipelines, plan, &homes)?)
    };
    let (update, using) = (executor(&update)?, executor(&using)?);
    homes.write_f32("parameters", "weight", &[8.0, -4.0, 0.0])?;
    update.write_f32("x", &[1.0, 2.0, 3.0])?;
    using.write_f32("x", &[100.0, 200.0, 300.0])?;
    for expected in [[105.0, 200.0, 303.0], [103.5, 202.0, 304.5]] {
        update.run()?;
        using.run()?;
        let found = using.read_named("y")?;
        ensure(found == expected, || format!("{found:?} and not {expected:?}"))?;
    }
    let alone = Homes::new(&bench.device, &Layout::default())?;
    let refused = Executor::new(&bench.device, &bench.pipelines, using.plan().clone(), &alone).err();
    ensure(matches!(refused, Some(Error::Invalid { .. })), || "homes of another layout are taken".to_owned())
}

fn homes_keep(bench: &Bench) -> Outcome {
    let [update, _] = update_and_use()?;
    let executor = bench.executor(&update, true)?;
    let homes = executor.homes();
    ensure(homes.read_f32("parameters", "weight")? == [0.0; 3], || "homes do not start as zeros".to_owned())?;
    homes.write_f32("parameters", "weight", &[1.0, 2.0, 3.0])?;
    let snapshot = homes.snapshot()?;
    executor.write_f32("x", &[1.0; 3])?;
    executor.run()?;
    ensure(homes.read_f32("parameters", "weight")? == [1.5, 2.0, 2.5], || "the update is not stored".to_owned())?;
    ensure(executor.read_named("weight")? == [1.5, 2.0, 2.5], || "the output is not what is stored".to_owned())?;
    homes.restore(&snapshot)?;
    ensure(homes.read_f32("parameters", "weight")? == [1.0, 2.0, 3.0], || "the snapshot is not put back".to_owned())?;
    let other = Homes::new(&bench.device, &Layout::default())?;
    ensure(other.restore(&snapshot).is_err(), || "a snapshot of another layout is taken".to_owned())
}

fn halves(bench: &Bench) -> Outcome {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::new([5], Elem::F16));
    graph.output("x", x);
    let labels = graph.input("labels", Tensor::new([3], Elem::U32));
    graph.output("labels", labels);
    let executor = bench.executor(&graph, true)?;
    executor.write_f32("x", &[1.0, -2.5, 0.1, 65504.0, 7.0])?;
    let found = executor.read_named("x")?;
    ensure(found == [1.0, -2.5, 0.099_975_586, 65504.0, 7.0], || format!("{found:?}"))?;
    executor.write_u32("labels", &[3, 0, u32::MAX])?;
    ensure(executor.read_u32(labels)? == [3, 0, u32::MAX], || "labels change".to_owned())?;
    ensure(executor.write_f32("labels", &[0.0; 3]).is_err(), || "labels take floats".to_owned())?;
    ensure(executor.write_u32("x", &[0; 5]).is_err(), || "floats take labels".to_owned())
}

fn timed(bench: &Bench) -> Outcome {
    let graph = program(11, 60)?;
    let executor = bench.executor(&graph, true)?;
    fill(&executor, &graph)?;
    if !bench.device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return ensure(executor.run_timed().is_err(), || "times without timestamps".to_owned());
    }
    let times = executor.run_timed()?;
    let numbers: Vec<usize> = times.iter().map(|time| time.step).collect();
    ensure(numbers == (0..executor.plan().steps().len()).collect::<Vec<_>>(), || "steps without a time".to_owned())?;
    let sum: u64 = times.iter().map(|time| time.nanoseconds).sum();
    ensure((1..10_000_000_000).contains(&sum), || format!("{sum} ns in all"))?;
    let kernels = executor.by_kernel(&times);
    ensure(kernels.iter().map(|kernel| kernel.nanoseconds).sum::<u64>() == sum, || "kernels do not add up".to_owned())?;
    ensure(kernels.iter().map(|kernel| kernel.steps).sum::<usize>() == times.len(), || "steps are lost".to_owned())?;
    let untimed = bench.executor(&graph, true)?;
    fill(&untimed, &graph)?;
    untimed.run()?;
    ensure(outputs(&untimed)? == outputs(&executor)?, || "timing changes the bits".to_owned())?;
    let whole = bench.executor(&graph, true)?;
    fill(&whole, &graph)?;
    let nanoseconds = whole.run_timed_whole()?;
    // No closer: runs on a busy machine differ by more than clocks around each step add.
    ensure((1..10_000_000_000).contains(&nanoseconds), || format!("{nanoseconds} ns as a whole"))?;
    ensure(outputs(&untimed)? == outputs(&whole)?, || "timing as a whole changes the bits".to_owned())
}

fn planted_nan(bench: &Bench) -> Outcome {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([2, 3]));
    let bias = graph.stored("parameters", "bias", Tensor::f32([2, 3]))?;
    let fine = graph.apply_one(Add, &[x, x])?;
    let bad = graph.scoped("block1", |graph| graph.apply_one(Add, &[fine, bias]))?;
    let spread = graph.apply_one(Mirror, &[bad])?;
    let average = graph.stored("statistics", "average", Tensor::f32([2, 3]))?;
    let next = graph.apply_one(Decay, &[average, spread])?;
    graph.output("average", next);
    for reuse in [true, false] {
        let executor = bench.executor(&graph, reuse)?;
        executor.write_f32("x", &[1.0; 6])?;
        ensure(executor.first_bad_value()?.is_none(), || "a clean run is bad".to_owned())?;
        executor.homes().write_f32("parameters", "bias", &[0.0, 0.0, 0.0, 0.0, f32::NAN, f32::INFINITY])?;
        let before = executor.homes().snapshot()?;
        let found = executor.first_bad_value()?.ok_or("the planted NaN is not found")?;
        ensure(found.value == bad && found.step == 1 && found.index == [1, 1] && found.count == 2, || {
            found.to_string()
        })?;
        ensure(found.number.is_nan() && found.kernel == "add/forward", || found.to_string())?;
        let words = found.to_string();
        ensure(words.contains("add at block1") && words.ends_with("before it ran: parameters `bias`"), || {
            words.clone()
        })?;
        ensure(executor.homes().snapshot()? == before, || "looking changes the homes".to_owned())?;
        executor.run_to(1)?;
        ensure(executor.read(fine)? == [2.0; 6], || "a value cannot be read in the middle".to_owned())?;
        ensure(executor.run_to(1000).is_err(), || "there are no 1000 steps".to_owned())?;
    }
    Ok(())
}

fn reads_async(bench: &Bench) -> Outcome {
    let executor = bench.executor(&hosts::chain()?, true)?;
    executor.write_f32("x", &[1.0, -2.0, 3.0, 4.0])?;
    executor.run()?;
    let y = executor.plan().find("y").ok_or("there is a y")?;
    for _ in 0..3 {
        let found = pollster::block_on(executor.read_async(y))?;
        ensure(found == [2.5, 1.5, 1.5, 2.5], || format!("{found:?}"))?;
    }
    Ok(())
}

fn wrong_names(bench: &Bench) -> Outcome {
    let executor = bench.executor(&hosts::chain()?, true)?;
    let refused = |found: Result<(), Error>, words: &str| match found {
        Err(error) if error.to_string().contains(words) => Ok(()),
        other => Err(Failed::from(format!("{words}: {other:?}"))),
    };
    refused(executor.write_f32("image", &[0.0; 4]), "the plan has no such input; it has: x")?;
    refused(executor.write_f32("x", &[0.0; 5]), "f32 [4] has 4 elements and 5 were given")?;
    refused(executor.read_named("loss").map(|_| ()), "the plan has no such output; it has: y, z, x")?;
    refused(executor.homes().write_f32("parameters", "w", &[]), "the layout has no such tensor")
}
