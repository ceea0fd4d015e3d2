//! Networks fused: which nodes are left, and that they compute and learn what the unfused ones do. No GPU.

mod attention;

use std::collections::BTreeMap;
use std::convert::Infallible;

use vistok::graph::{Draw, Graph, Node, Source, Tensor, Value, interpret, numbers};
use vistok::kernel::{Capabilities, Elem};
use vistok::models::{Mode, Parameters, by_name};
use vistok::ops::{self, Add, BatchNormFixed, Conv2d, ConvNorm, CrossEntropy, Fill, Map, Reshape, Sgd};
use vistok::reference::{Array, Random};
use vistok::train::step::{evaluation, evaluation_in, training_step_in};

fn unfused(name: &str, images: [usize; 4]) -> Graph {
    let model = by_name(name, 5).expect("a preset");
    evaluation_in(Elem::F32, &*model, &mut Parameters::new(), images).expect("the images fit")
}

/// Numbers that depend on the name of a leaf alone; those of variances are positive.
fn leaf(graph: &Graph, value: Value, source: &Source) -> Result<Array<f64>, Infallible> {
    let name = format!("{source:?}");
    let draw = if name.contains("variance") { Draw::Between(0.5, 2.0) } else { Draw::Between(-0.5, 0.5) };
    Ok(numbers(&graph.tensor(value).shape, draw, &mut Random::named(3, &name)))
}

fn counts(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    graph.nodes().iter().for_each(|node| *counts.entry(node.op.name()).or_default() += 1);
    counts
}

#[test]
fn networks_compute_the_same_when_fused() {
    for (name, images) in
        [("resnet-small", [2, 9, 7, 3]), ("resnet18", [1, 33, 32, 3]), ("vt-resnet-demo", [2, 28, 28, 1])]
    {
        let graph = unfused(name, images);
        let fused = graph.fused().expect("what was taken is taken").graph;
        assert!(fused.nodes().len() < graph.nodes().len(), "{name}: nothing was fused");
        let [truth, found] = [&graph, &fused].map(|graph| {
            let arrays =
                interpret(graph, |value, source| leaf(graph, value, source)).unwrap_or_else(|never| match never {});
            arrays[graph.find_output("logits").expect("logits").index()].clone()
        });
        let largest = truth.data.iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
        let off = truth.zip(&found, |a, b| (a - b).abs()).data.into_iter().fold(0.0, f64::max);
        assert!(off <= 1e-12 * largest, "{name}: off by {off:e} of {largest:e}");
    }
}

#[test]
fn nothing_is_left_of_norms_sums_and_relus() {
    let graph = unfused("resnet50", [1, 64, 64, 3]);
    let model = by_name("resnet50", 5).expect("a preset");
    let fused = evaluation(&*model, &mut Parameters::new(), [1, 64, 64, 3]).expect("the images fit");
    assert_eq!(counts(&graph)["batch_norm_fixed"], 53);
    let left: Vec<(&str, usize)> = counts(&fused).into_iter().collect();
    assert_eq!(left, [("conv2d", 1), ("conv_norm", 53), ("max_pool", 1), ("mean_rows", 1), ("pad", 2), ("reshape", 3)]);
    let relus = fused.nodes().iter().filter_map(|node| node.op.downcast::<ConvNorm>()).filter(|op| op.relu).count();
    assert_eq!(relus, 49); // all but those of the four shortcuts
}

/// x, weight and four vectors → y = norm(conv(x)), and x.
fn chain(graph: &mut Graph) -> [Value; 2] {
    let x = graph.input("x", Tensor::f32([1, 3, 3, 4]));
    let weight = graph.input("weight", Tensor::f32([1, 1, 4, 4]));
    let vectors = ["gain", "bias", "mean", "variance"].map(|name| graph.input(name, Tensor::f32([4])));
    let y = graph.apply_one(Conv2d::new(1, 0), &[x, weight]).expect("it fits");
    let y = graph.apply_one(BatchNormFixed::new(1e-5), &[&[y], &vectors[..]].concat()).expect("it fits");
    [y, x]
}

/// Asserts that output `y` is the same whether the graph is fused or not.
fn assert_same(graph: &Graph, what: &str) {
    let fused = graph.fused().expect("it fits").graph;
    let [truth, same] = [graph, &fused].map(|graph| {
        let arrays =
            interpret(graph, |value, source| leaf(graph, value, source)).unwrap_or_else(|never| match never {});
        arrays[graph.find_output("y").expect("y").index()].clone()
    });
    let off = truth.zip(&same, |a, b| (a - b).abs()).data.into_iter().fold(0.0, f64::max);
    assert!(off <= 1e-12, "{what}: off by {off:e}");
}

fn names(graph: &Graph) -> Vec<&'static str> {
    graph.fused().expect("it fits").graph.nodes().iter().map(|node| node.op.name()).collect()
}

#[test]
fn what_others_read_stays() {
    let apply = |graph: &mut Graph, op: Map, value| graph.apply_one(op, &[value]).expect("it fits");
    let mut graph = Graph::new();
    let [y, _] = chain(&mut graph);
    let relu = apply(&mut graph, Map::Relu, y);
    graph.output("relu", relu);
    assert_eq!(names(&graph), ["conv_norm"]);
    graph.output("norm", y);
    assert_eq!(names(&graph), ["conv_norm", "map"], "an output stays");

    let mut graph = Graph::new();
    let [y, _] = chain(&mut graph);
    let twice = graph.apply_one(Add, &[y, y]).expect("it fits");
    graph.output("twice", twice);
    assert_eq!(names(&graph), ["conv_norm", "add"], "what is read twice stays");

    let mut graph = Graph::new();
    let [y, x] = chain(&mut graph);
    let relu = apply(&mut graph, Map::Relu, y);
    let sum = graph.apply_one(Add, &[relu, x]).expect("it fits");
    graph.output("sum", sum);
    assert_eq!(names(&graph), ["conv_norm", "add"], "a shortcut comes before ReLU");

    let mut graph = Graph::new();
    let [y, x] = chain(&mut graph);
    let sum = graph.apply_one(Add, &[x, y]).expect("it fits");
    let gelu = apply(&mut graph, Map::Gelu, sum);
    graph.output("gelu", gelu);
    assert_eq!(names(&graph), ["conv_norm", "map"], "GELU is not ReLU");
    let fused = graph.fused().expect("it fits").graph;
    assert_eq!(fused.nodes()[0].inputs.len(), 7, "the shortcut comes last");
}

/// Loss and the gradients of everything learned, in the order of the parameters' names; of the graph as the model builds
/// it, or fused before gradients are taken.
fn gradients(name: &str, images: [usize; 4], fuse: bool) -> (Graph, Vec<(String, Value)>) {
    let model = by_name(name, 3).expect("a preset");
    let mut graph = Graph::new();
    let labels = graph.input("labels", Tensor::new([images[0]], Elem::U32));
    let images = graph.input("images", Tensor::f32(images));
    let logits = model.logits(&mut graph, &mut Parameters::new(), images, Mode::Train).expect("the images fit");
    let loss = graph.apply(CrossEntropy::default(), &[logits, labels]).expect("labels fit")[0];
    graph.output("loss", loss);
    if fuse {
        graph = graph.fused().expect("it fits").graph;
    }
    let loss = graph.find_output("loss").expect("the loss");
    let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[]).expect("one");
    let learned = |value: &Value| matches!(graph.source(*value), Source::Stored { home: "parameters", .. });
    let learned: Vec<Value> = graph.values().filter(learned).collect();
    let found = ops::gradients(&mut graph, &[(loss, one)], &learned).expect("every op has a gradient");
    let mut named: Vec<(String, Value)> = vec![("loss".to_owned(), loss)];
    named.extend(learned.iter().zip(found).map(|(&of, gradient)| {
        (format!("{:?}", graph.source(of)), gradient.expect("the loss depends on every parameter"))
    }));
    (graph, named)
}

#[test]
fn networks_learn_the_same_when_fused() {
    for (name, images) in
        [("resnet-small", [2, 9, 7, 3]), ("resnet18", [2, 33, 32, 3]), ("vt-resnet-demo", [2, 28, 28, 1])]
    {
        let [plain, fused] = [false, true].map(|fuse| {
            let (graph, named) = gradients(name, images, fuse);
            let leaf = |value: Value, source: &Source| match source {
                Source::Input(name) if name == "labels" => Ok(Array::from_fn(&[images[0]], |at| at as f64)),
                _ => leaf(&graph, value, source),
            };
            let arrays = interpret(&graph, leaf).unwrap_or_else(|never| match never {});
            let numbers = named.into_iter().map(|(name, value)| (name, arrays[value.index()].clone()));
            (counts(&graph), numbers.collect::<Vec<_>>())
        });
        let count = |counts: &BTreeMap<&str, usize>| counts.get("map").copied().unwrap_or(0);
        assert!(count(&fused.0) < count(&plain.0), "{name}: no ReLU was fused");
        assert_eq!(plain.1.len(), fused.1.len());
        for ((what, one), (_, other)) in plain.1.iter().zip(&fused.1) {
            let largest = one.data.iter().fold(1e-6f64, |largest, number| largest.max(number.abs()));
            let off = one.zip(other, |a, b| (a - b).abs()).data.into_iter().fold(0.0, f64::max);
            assert!(off <= 1e-9 * largest, "{name}, {what}: off by {off:e} of {largest:e}");
        }
    }
}

#[test]
fn nothing_is_read_after_it_was_written() {
    for seen in [false, true] {
        let mut graph = Graph::new();
        let x = graph.input("x", Tensor::f32([1, 3, 3, 4]));
        let shape = [1, 1, 4, 4];
        let [weight, velocity] = ["weight", "velocity"]
            .map(|name| graph.stored("parameters", name, Tensor::f32(shape)).expect("a first one"));
        // A convolution that reads the weight, or a view of it.
        let read = match seen {
            true => graph.apply_one(Reshape { shape: shape.into() }, &[weight]).expect("it fits"),
            false => weight,
        };
        let y = graph.apply_one(Conv2d::new(1, 0), &[x, read]).expect("it fits");
        let [gradient, rate] = [("gradient", Tensor::f32(shape)), ("rate", Tensor::f32([1]))]
            .map(|(name, tensor)| graph.input(name, tensor));
        let sgd = Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false };
        graph.apply(sgd, &[weight, gradient, velocity, rate]).expect("it fits");
        let vectors = ["gain", "bias", "mean", "variance"].map(|name| graph.input(name, Tensor::f32([4])));
        let y = graph.apply_one(BatchNormFixed::new(1e-5), &[&[y], &vectors[..]].concat()).expect("it fits");
        graph.output("y", y);
        assert!(
            !names(&graph).contains(&"conv_norm"),
            "it would see the weight as the update left it (a view: {seen})"
        );
    }
}

#[test]
fn a_step_takes_statistics_with_its_convolutions() {
    let model = by_name("resnet50", 5).expect("a preset");
    let sgd = Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
    let graph = training_step_in(Elem::F16, &*model, [2, 64, 64, 3], sgd).expect("the images fit").graph;
    let counts = counts(&graph);
    assert_eq!(counts["conv_batch_norm"], 53);
    // The classifier is a product of its own; ReLU and its gradient stand in the normalizations and theirs.
    let left = ["conv2d", "batch_norm", "map", "map_backward", "add"].map(|op| counts.get(op).copied().unwrap_or(0));
    // What is left of ReLU's gradients is read twice, at the end of each of 16 blocks: by the norm's and by the shortcut.
    assert_eq!(left, [1, 0, 0, 16, 0]);
    let kernels = |node: &Node| {
        let tensors = |values: &[Value]| values.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<_>>();
        let recording = node.op.recorded(&tensors(&node.inputs), &tensors(&node.outputs), &Capabilities::portable());
        recording.dispatches.iter().map(|call| call.kernel.name).collect::<Vec<_>>()
    };
    let stem = graph.nodes().iter().find(|node| node.op.name() == "conv_batch_norm").expect("there are 53");
    assert_eq!(kernels(stem), ["conv_batch_norm/forward", "batch_norm/merge", "batch_norm/forward"]);
}

#[test]
fn only_what_is_wanted_is_left() {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([4]));
    let apply = |graph: &mut Graph, op: Map, value| graph.apply_one(op, &[value]).expect("it fits");
    let wanted = apply(&mut graph, Map::Gelu, x);
    let other = apply(&mut graph, Map::Sigmoid, wanted);
    let last = apply(&mut graph, Map::Relu, other);
    assert_eq!(graph.fused().expect("it fits").graph.nodes().len(), 3);
    let fused = graph.fused_for(&[wanted]).expect("it fits");
    assert_eq!(counts(&fused.graph), BTreeMap::from([("map", 1)]));
    assert!(fused.value(wanted).is_some() && fused.value(last).is_none());
    graph.output("last", last);
    assert_eq!(graph.fused_for(&[]).expect("it fits").graph.nodes().len(), 3, "outputs are wanted");
}

#[test]
fn a_step_takes_loss_and_gradient_in_one_pass() {
    let model = by_name("resnet-small", 5).expect("a preset");
    let sgd = Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
    // In f32 a fill would make the seed; in f16 it is the scale of the loss.
    for (elem, apart) in [(Elem::F32, 4), (Elem::F16, 3)] {
        let graph = training_step_in(elem, &*model, [2, 9, 7, 3], sgd).expect("the images fit").graph;
        let counts = counts(&graph);
        assert!(!["cross_entropy", "cross_entropy_backward", "fill"].iter().any(|op| counts.contains_key(op)));
        assert_eq!(counts["cross_entropy_with_gradient"], 1);
        let loss = graph.nodes().iter().find(|node| node.op.name() == "cross_entropy_with_gradient").expect("one");
        assert_eq!(graph.find_output("loss"), Some(loss.outputs[0]));
        let mut composed = Graph::new();
        let inputs = loss.inputs.iter().enumerate();
        let inputs: Vec<Value> =
            inputs.map(|(at, &value)| composed.input(at.to_string(), graph.tensor(value).clone())).collect();
        let made = loss.op.composition(&inputs, &mut composed).expect("they fit");
        assert!(made.is_some_and(|made| made.iter().all(Option::is_some)));
        let dispatches = |graph: &Graph, node: &Node| {
            let tensors =
                |values: &[Value]| values.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<_>>();
            node.op
                .recorded(&tensors(&node.inputs), &tensors(&node.outputs), &Capabilities::portable())
                .dispatches
                .len()
        };
        assert_eq!(dispatches(&graph, loss), 2);
        assert_eq!(composed.nodes().iter().map(|node| dispatches(&composed, node)).sum::<usize>(), apart);
    }
}
