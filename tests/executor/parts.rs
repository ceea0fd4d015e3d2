//! Batches cut where no binding holds them: the same bits as in one piece, and refusals that say which batch fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use libtest_mimic::Failed;
use vistok::gpu::{Device, Executor, Homes, Pipelines};
use vistok::graph::{Case, Draw, Graph, Source, Tensor, numbers};
use vistok::kernel::tuning::Choices;
use vistok::kernel::tuning::gemm::Tiles;
use vistok::kernel::{Capabilities, Elem};
use vistok::models::{Parameters, by_name};
use vistok::ops::{self, Conv2d, Sgd};
use vistok::plan::{Layout, Options, Plan, PlanError};
use vistok::reference::Random;
use vistok::train::step::{evaluation, evaluation_in, initialize, training_step};
use vistok::verify::with_gradients;

use super::{Bench, Outcome, ensure};

/// The largest tensor that cases are tried with.
const SMALL: usize = 1 << 18;
/// Times as many images as a case has, so that there is something to cut.
const TIMES: usize = 32;
/// Shapes that every op is tried on in every element type.
const SHAPES: usize = 8;

/// A machine whose bindings hold that many bytes.
fn narrow(machine: &Capabilities, bytes: usize) -> Capabilities {
    Capabilities { max_binding_bytes: bytes, ..machine.clone() }
}

/// Every node of every case that computes images by themselves, with more images, as a graph of its own.
fn nodes(elem: Elem) -> Result<Vec<(&'static str, Graph)>, Failed> {
    let mut found = Vec::new();
    let mut tried: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let small = |case: &&Case| case.inputs.iter().all(|input| input.shape.count() < SMALL / TIMES);
    for case in ops::cases().iter().filter(small) {
        let (graph, _) = with_gradients(case, elem)?;
        for node in graph.nodes() {
            let inputs: Vec<Tensor> = node.inputs.iter().map(|&value| graph.tensor(value).clone()).collect();
            let Some(&images) = graph.tensor(node.outputs[0]).shape.first() else { continue };
            let Some(more) = node.op.by_image(&inputs, images * TIMES) else { continue };
            let known = tried.entry(node.op.name()).or_default();
            if known.len() == SHAPES || !known.insert(node.op.asked(&inputs)) {
                continue;
            }
            let mut alone = Graph::new();
            let grown = |(at, tensor): (usize, &Tensor)| {
                let mut sizes = tensor.shape.to_vec();
                sizes[0] *= if more.inputs.contains(&at) { TIMES } else { 1 };
                alone.input(format!("input{at}"), tensor.shaped(sizes))
            };
            let values: Vec<_> = inputs.iter().enumerate().map(grown).collect();
            let outputs = alone.apply_shared(more.op.into(), &values)?;
            outputs.into_iter().enumerate().for_each(|(at, value)| alone.output(format!("output{at}"), value));
            found.push((node.op.name(), alone));
        }
    }
    Ok(found)
}

/// The bytes of all outputs, and the calls, where bindings hold what `machine` says.
fn run(bench: &Bench, graph: &Graph, machine: &Capabilities) -> Result<(Vec<Vec<u8>>, usize), Failed> {
    let layout = Layout::of(&[graph], machine.offset_alignment)?;
    let homes = Homes::new(&bench.device, &layout)?;
    let plan = Plan::new(graph, &layout, machine, Options::default())?;
    let executor = Executor::new(&bench.device, &bench.pipelines, plan, &homes)?;
    for value in graph.values() {
        let Source::Input(name) = graph.source(value) else { continue };
        let tensor = graph.tensor(value);
        let mut random = Random::named(3, name);
        match tensor.elem {
            Elem::U32 => {
                let places = numbers(&tensor.shape, Draw::Labels(4), &mut random);
                executor.write_u32(name, &places.data.iter().map(|&place| place as u32).collect::<Vec<_>>())?;
            }
            _ => {
                let drawn = numbers(&tensor.shape, Draw::Between(0.1, 2.0), &mut random);
                executor.write_f32(name, &drawn.data.iter().map(|&number| number as f32).collect::<Vec<_>>())?;
            }
        }
    }
    executor.run()?;
    let outputs = graph.outputs().iter().map(|(_, value)| executor.read_bytes(*value)).collect::<Result<_, _>>()?;
    Ok((outputs, executor.plan().steps().len()))
}

pub(crate) fn every_op(bench: &Bench) -> Outcome {
    let machine = bench.device.capabilities();
    for elem in [Elem::F32, Elem::F16] {
        if elem == Elem::F16 && !machine.f16 {
            continue;
        }
        let (mut all, mut cut, mut different) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for (name, graph) in nodes(elem)? {
            all.insert(name);
            let largest = graph.values().map(|value| graph.tensor(value).bytes()).max().unwrap_or(0);
            if largest <= 16 {
                continue; // no binding is smaller
            }
            let (whole, calls) = run(bench, &graph, machine)?;
            let narrow = narrow(machine, largest.div_ceil(3).next_multiple_of(16));
            let (parts, more) = match run(bench, &graph, &narrow) {
                Ok(found) => found,
                // What images have in common, or the fewest that may be bound, can be larger than that.
                Err(error) if error.message().is_some_and(|text| text.contains("(batch) of at most")) => continue,
                Err(error) => return Err(error),
            };
            ensure(more > calls, || format!("{name}: nothing was cut\n{graph}"))?;
            cut.insert(name);
            if parts != whole {
                different.push(format!("{name} {elem}: other bits in parts\n{graph}"));
            }
        }
        ensure(different.is_empty(), || different.join("\n"))?;
        // Where bindings start at coarse offsets, small images have none to start at.
        let coarse = machine.offset_alignment > 64 && !cut.is_empty();
        ensure((coarse || all == cut) && all.len() >= 18, || format!("of {all:?} only {cut:?} were ever cut"))?;
    }
    Ok(())
}

pub(crate) fn whole_networks(bench: &Bench) -> Outcome {
    let machine = bench.device.capabilities();
    for (name, images) in [("resnet-small", [11, 32, 32, 3]), ("vt-resnet-demo", [11, 28, 28, 1])] {
        let model = by_name(name, 5).ok_or("a preset")?;
        for fused in [true, false] {
            let mut parameters = Parameters::new();
            let graph = match fused {
                true => evaluation(&*model, &mut parameters, images)?,
                false => evaluation_in(Elem::F32, &*model, &mut parameters, images)?,
            };
            let values = || graph.values().filter(|&value| matches!(graph.source(value), Source::Node(..)));
            let largest = values().map(|value| graph.tensor(value).bytes()).max().unwrap_or(0);
            // Four images of the largest activation, which start anywhere at offsets of 256 bytes too; its batch is almost three
            // times that.
            let narrow = narrow(machine, largest / images[0] * 4);
            let layout = Layout::of(&[&graph], machine.offset_alignment)?;
            let homes = Homes::new(&bench.device, &layout)?;
            initialize(&homes, &parameters, 5)?;
            let mut found = Vec::new();
            for machine in [machine, &narrow] {
                let plan = Plan::new(&graph, &layout, machine, Options::default())?;
                let executor = Executor::new(&bench.device, &bench.pipelines, plan, &homes)?;
                let mut random = Random::new(1);
                let pixels = images.iter().product::<usize>();
                executor.write_f32("images", &(0..pixels).map(|_| random.normal() as f32).collect::<Vec<_>>())?;
                executor.run()?;
                found.push((executor.read_named("logits")?, executor.plan().steps().len()));
            }
            let [(whole, calls), (parts, more)] = &found[..] else { return Err("two runs".into()) };
            ensure(more > calls, || format!("{name}: nothing was cut"))?;
            // Of fewer images a GPU may add sums up in slices, and rounds in other places.
            let allowed = if machine.software { 0.0 } else { 1e-4 };
            let agrees = |(whole, part): (&f32, &f32)| (whole - part).abs() <= allowed * whole.abs().max(1.0);
            ensure(whole.iter().zip(parts).all(agrees), || format!("{name}: other logits in parts"))?;
        }
    }
    Ok(())
}

pub(crate) fn wgpu_takes_parts() -> Outcome {
    let device = Device::rehearsal()?;
    let machine = device.capabilities();
    let model = by_name("resnet18", 10).ok_or("a preset")?;
    // The stem's activations are 205 MB, and bindings hold 134.
    let graph = evaluation(&*model, &mut Parameters::new(), [64, 224, 224, 3])?;
    let layout = Layout::of(&[&graph], machine.offset_alignment)?;
    let plan = Plan::new(&graph, &layout, machine, Options::default())?;
    for step in plan.steps() {
        let fits = |offset: usize, bytes: usize| bytes <= machine.max_binding_bytes && offset.is_multiple_of(256);
        ensure(step.bindings.iter().all(|place| fits(place.offset, place.bytes)), || format!("{step:?}"))?;
    }
    let stem: Vec<_> = plan.nodes().iter().filter(|node| node.scope.starts_with("stem")).collect();
    let calls: Vec<(&str, usize)> = stem.iter().map(|node| (node.op, node.steps.len())).collect();
    ensure(calls == [("pad", 1), ("pad", 1), ("conv_norm", 2), ("max_pool", 2)], || format!("{calls:?}"))?;
    ensure(plan.to_string().contains("+102760448"), || "the plan does not say where a part starts".to_owned())?;
    let homes = Homes::new(&device, &layout)?;
    Executor::new(&device, &Pipelines::new(&device, None), plan, &homes)?.run()?;
    Ok(())
}

pub(crate) fn parts_take_the_tiles_of_the_whole() -> Outcome {
    let mut graph = Graph::new();
    let [x, weight] = [("x", [64, 56, 56, 64]), ("weight", [3, 3, 64, 64])]
        .map(|(name, sizes)| graph.input(name, Tensor::f32(sizes)));
    let y = graph.apply_one(Conv2d::new(1, 1), &[x, weight])?;
    graph.output("y", y);
    let machine = narrow(&Capabilities::portable(), 16 << 20);
    let tiles = |machine: &Capabilities| {
        let plan = Plan::new(&graph, &Layout::default(), machine, Options::default())?;
        ensure(plan.steps().len() == 4, || format!("{plan}"))?;
        Ok::<_, Failed>(plan.steps().iter().map(|step| step.variant.to_string()).collect::<BTreeSet<_>>())
    };
    let usual = tiles(&machine)?;
    let asked = graph.nodes()[0].op.asked(&[x, weight].map(|value| graph.tensor(value).clone()));
    for way in Tiles::all(&machine, Elem::F32).into_iter().filter(|way| way.slices == 0) {
        let mut choices = Choices::default();
        choices.set(asked.clone(), way);
        let chosen = tiles(&Capabilities { choices: Some(Arc::new(choices)), ..machine.clone() })?;
        let whole = tiles(&Capabilities { tiles: Some(way), ..machine.clone() })?;
        ensure(chosen == whole, || format!("{way}: {chosen:?}, and not {whole:?}"))?;
        ensure(chosen != usual || way.tile == [128, 64, 16], || format!("{way} is the usual one"))?;
    }
    Ok(())
}

/// Why a graph is refused on such a machine.
fn refusal(graph: &Graph, machine: &Capabilities) -> Result<String, Failed> {
    let layout = Layout::of(&[graph], machine.offset_alignment)?;
    match Plan::new(graph, &layout, machine, Options::default()) {
        Ok(_) => Err("it was planned".into()),
        Err(error @ PlanError::TooLarge { .. }) => Ok(error.to_string()),
        Err(error) => Err(error.to_string().into()),
    }
}

pub(crate) fn what_cannot_be_cut_is_refused() -> Outcome {
    let machine = Capabilities::portable();
    let model = by_name("resnet18", 10).ok_or("a preset")?;
    let says = |said: String, wanted: &str| ensure(said == wanted, || format!("`{said}` and not `{wanted}`"));
    let sgd = Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
    let step = training_step(&*model, [64, 224, 224, 3], sgd)?.graph;
    says(
        refusal(&step, &machine)?,
        "conv_batch_norm at stem/conv: its output is f32 [64, 112, 112, 64], 205520896 bytes, and a binding of this machine \
         holds 134217728: a first axis (batch) of at most 41 fits",
    )?;
    let large = evaluation(&*model, &mut Parameters::new(), [128, 224, 224, 3])?;
    says(
        refusal(&large, &machine)?,
        "conv_norm at stem/conv: its output is f32 [128, 112, 112, 64], 411041792 bytes, and a buffer of this machine \
         holds 268435456: a first axis (batch) of at most 83 fits",
    )?;
    // 12 bytes an image: bindings may start at every 64th.
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([100, 3]));
    let y = graph.apply_one(ops::Map::Relu, &[x])?;
    graph.output("y", y);
    for (bytes, alignment, calls) in [(768, 256, Some(2)), (752, 256, None), (752, 32, Some(2)), (96, 32, Some(13))] {
        let machine = Capabilities { offset_alignment: alignment, ..narrow(&machine, bytes) };
        let plan = Plan::new(&graph, &Layout::default(), &machine, Options::default());
        let found = plan.as_ref().ok().map(|plan| plan.steps().len());
        ensure(found == calls, || format!("{bytes} bytes from every {alignment}th on: {found:?} calls"))?;
        if let Err(error) = plan {
            ensure(error.to_string().ends_with("(batch) of at most 62 fits"), || error.to_string())?;
        }
    }
    Ok(())
}
