//! Memory that does not suffice: refused when it is planned, an error value when it is asked for.

use std::process::{Command, ExitCode};

use libtest_mimic::Failed;
use vistok::gpu::{Device, Error, Executor, Homes, Pipelines};
use vistok::graph::{Graph, Tensor};
use vistok::kernel::Capabilities;
use vistok::models::by_name;
use vistok::ops::{Map, Sgd};
use vistok::plan::{Layout, Options, Plan, PlanError, Remedy};
use vistok::train::TrainError;
use vistok::train::step::training_step;
use vistok::wgpu;

use super::{Outcome, Run, ensure};

const SGD: Sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };

/// Set in the environment of the process whose memory is taken away.
const CHILD: &str = "VISTOK_FAULTS_CHILD";

fn plan(model: &str, images: [usize; 4], classes: usize) -> Result<Plan, TrainError> {
    let model = by_name(model, classes).ok_or_else(|| PlanError::Name("no such model".to_owned()))?;
    let graph = training_step(&*model, images, SGD)?.graph;
    let machine = Capabilities::portable();
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    Ok(Plan::new(&graph, &layout, &machine, Options::default())?)
}

/// Follows the remedies of refusals, as a user would: each is smaller than the last, and the way ends at a plan.
pub(crate) fn batches_that_fit() -> Outcome {
    for (model, image) in [("resnet18", [224, 224, 3]), ("vt-resnet-demo", [28, 28, 1])] {
        let (mut batch, mut refusals) = (1 << 20, Vec::new());
        loop {
            match plan(model, [batch, image[0], image[1], image[2]], 10) {
                Ok(_) => break,
                Err(error) => {
                    let words = error.to_string();
                    let (TrainError::Plan(PlanError::TooLarge { remedy, .. })
                    | TrainError::Plan(PlanError::ScratchTooLarge { remedy, .. })) = error
                    else {
                        return Err(Failed::from(format!("{model}, batch {batch}: {words}")));
                    };
                    let Remedy::Batch(fits) = remedy else {
                        return Err(Failed::from(format!("{model}, batch {batch}: {words}")));
                    };
                    ensure(fits < batch, || format!("{model}, batch {batch}: {words}"))?;
                    ensure(refusals.len() < 20, || format!("{model}: no end of refusals, the last: {words}"))?;
                    refusals.push(batch);
                    batch = fits;
                }
            }
        }
        println!("{model}: refused {refusals:?}, planned {batch}");
        ensure(!refusals.is_empty() && batch > 0, || format!("{model}: a batch of a million fits"))?;
    }
    Ok(())
}

pub(crate) fn absurd_sizes() -> Outcome {
    let most = usize::MAX;
    for (images, classes) in [
        ([most, 28, 28, 1], 10),
        ([1, most, most, most], 10),
        ([most / 2, 1 << 20, 1 << 20, 1], 10),
        ([1, 28, 28, 1], most),
        ([1, 28, 28, 1], most / 64),
        ([1, 28, 28, 1 << 60], 10),
        ([0, 28, 28, 1], 10),
        ([1, 0, 28, 1], 10),
        ([1, 28, 28, 1], 0),
        ([1, 1, 1, 1], 1),
    ] {
        for model in ["vt-resnet-demo", "resnet18", "resnet50"] {
            let planned = std::panic::catch_unwind(|| plan(model, images, classes).map(|_| ()));
            let planned = planned.map_err(|_| format!("{model} panics at {images:?}, {classes} classes"))?;
            let small = images == [1, 1, 1, 1];
            ensure(small || planned.is_err(), || format!("{model} is planned at {images:?}, {classes} classes"))?;
        }
    }
    Ok(())
}

/// Whether a device's memory is its own, or that of a process that can be limited.
pub(crate) fn can_be_exhausted(device: &Device) -> bool {
    let limited = cfg!(target_os = "linux") && device.capabilities().software;
    limited || device.info().device_type == wgpu::DeviceType::DiscreteGpu
}

/// Runs [`starved`] in a process of its own, which other tests do not share.
pub(crate) fn exhausted() -> Outcome {
    let output = Command::new(std::env::current_exe()?).env(CHILD, "1").output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    ensure(output.status.success(), || format!("{}: {words}", output.status))
}

/// What the process does that [`exhausted`] started; nothing in any other.
pub(crate) fn child() -> Option<ExitCode> {
    std::env::var_os(CHILD)?;
    Some(match starved() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    })
}

/// Takes memory on the device until there is no more, with the process limited on machines whose GPU memory is the
/// process's own; then gives it back and goes on with the same device.
fn starved() -> Outcome {
    let mut run = Run::new(None)?;
    run.train(|_| {})?;
    let before = run.trainer.homes().snapshot()?;
    let device = run.device.clone();
    let piece = device.capabilities().max_binding_bytes.min(64 << 20);
    let numbers: Vec<f32> = (0..piece / 4).map(|at| at as f32 - 1.0).collect();
    if device.capabilities().software {
        limit(Some(256 << 20))?;
    }
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([piece / 4]));
    let y = graph.apply_one(Map::Relu, &[x])?;
    graph.output("y", y);
    let machine = &device.capabilities().clone();
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    let homes = Homes::new(&device, &layout)?;
    let pipelines = Pipelines::new(&device, None);
    let mut held = Vec::new();
    let refusal = loop {
        let plan = Plan::new(&graph, &layout, machine, Options::default())?;
        match Executor::new(&device, &pipelines, plan, &homes) {
            Ok(executor) => held.push(executor),
            Err(error) => break error,
        }
        // More than any card has.
        ensure(held.len() < 1 << 14, || "memory has no end".to_owned())?;
    };
    let words = refusal.to_string();
    println!("after {} times twice {piece} bytes: {words}", held.len());
    ensure(matches!(refusal, Error::OutOfMemory { .. }), || words.clone())?;
    ensure(words.contains("slot 0") || words.contains("input `x`"), || words.clone())?;
    // The device that refused goes on: what it holds is what it was, and it still computes.
    let accuracy = run.trainer.accuracy(&super::noise())?;
    ensure(run.trainer.homes().snapshot()? == before, || "memory that was refused has changed weights".to_owned())?;
    // What a running plan is given goes through memory of wgpu's own; where there is none, wgpu gives the device up.
    let executor = held.first().ok_or("there is no memory at all")?;
    let refusal = executor.write_f32("x", &numbers).err().ok_or("memory that there is not was written")?;
    println!("{refusal}");
    let lost = match &refusal {
        Error::OutOfMemory { .. } => false,
        Error::Lost { reason, .. } => reason.to_lowercase().contains("memory"),
        _ => return Err(Failed::from(refusal.to_string())),
    };
    held.clear();
    let _ = device.wait("giving memory back");
    let software = device.capabilities().software;
    drop((run, homes, pipelines));
    if software {
        limit(None)?;
    }
    // Memory that was given back serves again, on the same device or, where it was lost, on a new one.
    let device = if lost {
        drop(device);
        super::open()?
    } else {
        device
    };
    let (machine, pipelines) = (device.capabilities(), Pipelines::new(&device, None));
    let plan = Plan::new(&graph, &layout, machine, Options::default())?;
    let executor = Executor::new(&device, &pipelines, plan, &Homes::new(&device, &layout)?)?;
    executor.write_f32("x", &numbers)?;
    executor.run()?;
    let read = executor.read_named("y")?;
    ensure(read.iter().zip(&numbers).all(|(y, x)| *y == x.max(0.0)), || "it computes something else".to_owned())?;
    ensure(accuracy.is_finite(), || "no accuracy".to_owned())
}

/// Lets this process have so many bytes more than it has, and no others; `None`: as many as there are.
fn limit(more: Option<u64>) -> Outcome {
    let statistics = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statistics.split(' ').next().unwrap_or_default().parse()?;
    let most = more.map_or("unlimited".to_owned(), |more| (pages * 4096 + more).to_string());
    // The colon keeps the hard limit, so that this may be taken back.
    let arguments = ["--pid", &std::process::id().to_string(), &format!("--as={most}:")];
    ensure(Command::new("prlimit").args(arguments).status()?.success(), || "prlimit refuses".to_owned())
}
