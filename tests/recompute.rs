//! Blocks made again for the backward pass: the same numbers to the bit, less memory, and as many more kernel calls as
//! were made again. No GPU.

use std::collections::BTreeMap;
use std::convert::Infallible;

use vistok::gpu::{Device, Executor, Homes, Pipelines};
use vistok::graph::{Graph, Source, Tensor, Value, interpret};
use vistok::kernel::{Capabilities, Elem};
use vistok::models::{Model, by_name};
use vistok::ops::{self, Add, Fill, Map, Sgd};
use vistok::plan::{Layout, Options, Plan};
use vistok::train::Recompute;
use vistok::train::step::{StepOptions, TrainingStep, training_step_with};

const SGD: Sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };

fn step(model: &dyn Model, images: [usize; 4], elem: Elem, recompute: Recompute) -> TrainingStep {
    training_step_with(&StepOptions { elem, recompute, ..StepOptions::default() }, model, images, SGD)
        .expect("the images fit")
}

fn planned(graph: &Graph) -> Plan {
    // A card: what is planned here is never run.
    let machine = Capabilities { max_binding_bytes: 2 << 30, ..Capabilities::portable() };
    let layout = Layout::of(&[graph], machine.offset_alignment).expect("names agree");
    Plan::new(graph, &layout, &machine, Options::default()).expect("it fits")
}

/// What a step leaves behind, by name: the loss, gradients, and every stored tensor as it was updated.
fn left(step: &TrainingStep) -> BTreeMap<String, Vec<u64>> {
    let leaf = |value: Value, source: &Source| Ok::<_, Infallible>(step.sample(value, source, 7));
    let arrays = interpret(&step.graph, leaf).unwrap_or_else(|never| match never {});
    let bits = |value: Value| arrays[value.index()].data.iter().map(|number| number.to_bits()).collect();
    let mut left: BTreeMap<String, Vec<u64>> =
        step.graph.outputs().iter().map(|(name, value)| (name.clone(), bits(*value))).collect();
    left.extend(step.gradients.iter().map(|(name, value)| (format!("gradient {name}"), bits(*value))));
    for node in step.graph.nodes() {
        for (input, output) in node.op.updates() {
            let source = format!("{:?}", step.graph.source(node.inputs[input]));
            assert!(left.insert(source.clone(), bits(node.outputs[output])).is_none(), "{source} is updated twice");
        }
    }
    left
}

#[test]
fn a_step_leaves_the_same_bits() {
    for (name, images) in
        [("resnet-small", [2, 9, 7, 3]), ("resnet18", [1, 33, 32, 3]), ("vt-resnet-demo", [2, 28, 28, 1])]
    {
        let model = by_name(name, 5).expect("a preset");
        for elem in [Elem::F32, Elem::F16] {
            let kept = step(&*model, images, elem, Recompute::Nothing);
            let last = model.blocks().pop().expect("it has blocks");
            for recompute in [Recompute::Everything, Recompute::Blocks(vec!["stage2".to_owned(), last])] {
                let again = step(&*model, images, elem, recompute);
                assert!(again.graph.nodes().len() > kept.graph.nodes().len(), "{name}: nothing is made again");
                assert_eq!(left(&again), left(&kept), "{name} {elem}");
            }
        }
    }
}

#[test]
fn memory_falls_and_calls_rise_by_what_is_made_again() {
    let model = by_name("resnet50", 1000).expect("a preset");
    for elem in [Elem::F32, Elem::F16] {
        let [kept, all, some] = [
            Recompute::Nothing,
            Recompute::Everything,
            Recompute::Blocks(vec!["stem".to_owned(), "stage2".to_owned()]),
        ]
        .map(|recompute| planned(&step(&*model, [64, 224, 224, 3], elem, recompute).graph));
        let megabytes = |plan: &Plan| plan.peak_bytes() as f64 / 1e6;
        for (plan, blocks, blocks_again) in [(&all, "all blocks", 17), (&some, "stem and stage 2", 4)] {
            let again = plan.nodes().iter().filter(|node| node.scope.ends_with(" again"));
            let steps: usize = again.clone().map(|node| node.steps.len()).sum();
            println!(
                "resnet50, batch 64, {elem}: {:.0} MB, {blocks} made again {:.0} MB; {} and {} calls",
                megabytes(&kept),
                megabytes(plan),
                kept.steps().len(),
                plan.steps().len(),
            );
            assert_eq!(plan.steps().len(), kept.steps().len() + steps);
            let found: Vec<&str> = again.map(|node| node.scope.as_str()).collect();
            // Two convolutions and norms and a third convolution in each residual block, the shortcuts' convolutions, and
            // all three of the stem and what gives its images and weights a fourth channel.
            let shortcuts = found.iter().filter(|scope| scope.contains("shortcut")).count();
            assert_eq!(found.len(), 5 * (blocks_again - 1) + shortcuts + 5, "{found:?}");
            assert!(!found.iter().any(|scope| scope.contains("norm3")), "what leaves a block is kept");
        }
        assert!(all.peak_bytes() * 2 < kept.peak_bytes(), "{} of {}", megabytes(&all), megabytes(&kept));
        assert!(some.peak_bytes() < kept.peak_bytes() && all.peak_bytes() < some.peak_bytes());
    }
}

#[test]
fn wgpu_takes_the_plan() {
    let device = Device::rehearsal().expect("the no-op device");
    let model = by_name("resnet-small", 5).expect("a preset");
    let graph = step(&*model, [2, 9, 7, 3], Elem::F32, Recompute::Everything).graph;
    let layout = Layout::of(&[&graph], 256).expect("names agree");
    let plan = Plan::new(&graph, &layout, device.capabilities(), Options::default()).expect("it fits");
    let homes = Homes::new(&device, &layout).expect("there is room");
    let pipelines = Pipelines::new(&device, None);
    let executor = Executor::new(&device, &pipelines, plan, &homes).expect("wgpu accepts it");
    executor.run().expect("nothing is computed");
}

/// Nodes that were made again, by op.
fn again(graph: &Graph) -> Vec<&'static str> {
    let made = graph.nodes().iter().filter(|node| node.scope.ends_with(" again"));
    made.map(|node| node.op.name()).collect()
}

#[test]
fn what_others_read_and_what_would_be_another_is_kept() {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([4]));
    let average = graph.stored("statistics", "average", Tensor::f32([4])).expect("a new name");
    let velocity = graph.stored("momentum", "average", Tensor::f32([4])).expect("a new name");
    let rate = graph.input("rate", Tensor::f32([1]));
    let map = |graph: &mut Graph, op: Map, value: Value| graph.apply_one(op, &[value]).expect("shapes fit");
    let old = map(&mut graph, Map::Sigmoid, average); // reads what is updated next
    let a = map(&mut graph, Map::Gelu, x);
    let b = map(&mut graph, Map::Gelu, a);
    let sum = graph.apply_one(Add, &[b, old]).expect("shapes fit");
    let y = map(&mut graph, Map::Gelu, sum);
    graph.apply(SGD, &[average, x, velocity, rate]).expect("shapes fit");
    let outside = map(&mut graph, Map::Gelu, b); // reads b
    let loss = graph.apply_one(Add, &[y, outside]).expect("shapes fit");
    graph.output("loss", loss);
    let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([4]) }, &[]).expect("shapes fit");
    let found =
        ops::gradients_again(&mut graph, &[(loss, one)], &[x], &[(0..5).collect()]).expect("all have gradients");
    graph.output("gradient", found[0].expect("x is read"));
    // Neither `old` nor b; y, too, is read outside.
    assert_eq!(again(&graph), ["map", "add"]);
    planned(&graph);
}
