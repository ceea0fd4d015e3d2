//! Models against published counts, and their gradients against a numerical derivative; no GPU.

use std::convert::Infallible;

use vistok::graph::{Draw, Graph, GraphError, Source, Tensor, Value, interpret, numbers};
use vistok::kernel::Elem;
use vistok::models::parameters::{PARAMETERS, STATISTICS};
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::models::vt::Vt;
use vistok::models::{Mode, Model, Parameters, Probe, VtResNet, by_name};
use vistok::ops::{self, CrossEntropy, Fill};
use vistok::reference::{Array, Random};

/// Multiply-adds of one image and learned numbers without those of normalizations, both in millions.
fn counts(model: &dyn Model) -> Result<(f64, f64), GraphError> {
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let images = graph.input("images", Tensor::f32([1, 224, 224, 3]));
    model.logits(&mut graph, &mut parameters, images, Mode::Evaluate)?;
    let tensors = |values: &[Value]| values.iter().map(|&value| graph.tensor(value).clone()).collect::<Vec<_>>();
    let costs = graph.nodes().iter().map(|node| node.op.cost(&tensors(&node.inputs), &tensors(&node.outputs)));
    let multiply_adds: u64 = costs.map(|cost| cost.multiply_adds).sum();
    Ok((multiply_adds as f64 / 1e6, parameters.count(false) as f64 / 1e6))
}

#[test]
fn counts_are_those_published() {
    // ResNets: torchvision's parameters less 2 numbers a normalized channel. VT-ResNets: the paper's table, to its digits.
    for (name, multiply_adds, parameters, digit) in [
        ("resnet18", 1814.1, 11.680, 0.001),
        ("resnet34", 3663.8, 21.781, 0.001),
        ("resnet50", 4089.2, 25.504, 0.001),
        ("resnet101", 7801.4, 44.444, 0.001),
        ("vt-resnet18", 1578.9, 11.6, 0.1),
        ("vt-resnet34", 3299.0, 21.8, 0.1),
    ] {
        let model = by_name(name, 1000).expect("a preset");
        let (found, learned) = counts(&*model).expect("224x224 images fit");
        assert!((found - multiply_adds).abs() <= 0.06, "{name}: {found} M multiply-adds, published {multiply_adds}");
        assert!((learned - parameters).abs() <= digit / 2.0, "{name}: {learned} M, published {parameters}");
    }
}

/// As small as a VT-ResNet gets that still has every kind of layer.
fn tiny(vt: Vt) -> VtResNet {
    let trunk = Trunk {
        stem: Stem::Small { kernel: 3, channels: 4, stride: 1, pool: false },
        block: Block::Basic,
        stages: vec![Stage { channels: 8, blocks: 1, stride: 2 }],
    };
    VtResNet { name: "tiny", trunk, vt, blocks: 3, classes: 5 }
}

fn settings() -> Vec<Vt> {
    let counted = Vt { heads: 2, ..Vt::counted(3, 16, 16, 4) };
    vec![counted, Vt { heads: 1, norm: false, ..Vt::counted(2, 8, 8, 4) }, Vt::equations(4, 8)]
}

/// A stored tensor's starting numbers, with `step` times a random direction added to what is learned; random inputs.
fn leaf(parameters: &Parameters, graph: &Graph, (value, source): (Value, &Source), step: f64) -> Array<f64> {
    let tensor = graph.tensor(value);
    match source {
        Source::Stored { home, name } if [PARAMETERS, STATISTICS].contains(home) => {
            let mut known = parameters.iter().filter(|parameter| parameter.home == *home);
            let parameter = known.find(|parameter| parameter.name == *name).expect("declared");
            let data = parameter.initial(11).into_iter().map(f64::from).collect();
            let start = Array { shape: tensor.shape.to_vec(), data };
            let moves = if *home == PARAMETERS { step } else { 0.0 };
            start.zip(&direction(tensor, name), |start, direction| start + moves * direction)
        }
        Source::Stored { name, .. } | Source::Input(name) => {
            let draw = if tensor.elem == Elem::U32 { Draw::Labels(5) } else { Draw::Normal };
            numbers(&tensor.shape, draw, &mut Random::named(5, name))
        }
        Source::Node(..) => unreachable!("computed"),
    }
}

fn direction(tensor: &Tensor, name: &str) -> Array<f64> {
    numbers(&tensor.shape, Draw::Between(-1.0, 1.0), &mut Random::named(23, name))
}

#[test]
fn the_gradient_of_a_whole_network_is_its_derivative() {
    for vt in settings() {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
        let labels = graph.input("labels", Tensor::new([3], Elem::U32));
        let logits = tiny(vt.clone()).logits(&mut graph, &mut parameters, images, Mode::Train).expect("fits");
        let loss = graph.apply(CrossEntropy, &[logits, labels]).expect("fits")[0];
        let forward = graph.clone();
        let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[]).expect("fits");
        let learned: Vec<Value> = graph
            .values()
            .filter(|&value| matches!(graph.source(value), Source::Stored { home, .. } if *home == PARAMETERS))
            .collect();
        let gradients = ops::gradients(&mut graph, &[(loss, one)], &learned).expect("every op has a gradient");
        let run = |graph: &Graph, step: f64| {
            let leaf = |value, source: &Source| Ok::<_, Infallible>(leaf(&parameters, graph, (value, source), step));
            interpret(graph, leaf).unwrap_or_else(|never| match never {})
        };
        let at = |step: f64| run(&forward, step)[loss.index()].data[0];
        const STEP: f64 = 1e-5;
        let derivative = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP);
        let arrays = run(&graph, 0.0);
        let mut rule = 0.0;
        for (&value, gradient) in learned.iter().zip(gradients) {
            let Source::Stored { name, .. } = graph.source(value) else { unreachable!("stored") };
            let gradient = &arrays[gradient.unwrap_or_else(|| panic!("{name} has no gradient")).index()];
            let largest = gradient.data.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            assert!(largest > 1e-9, "{name} has a gradient of {largest:e} in {vt:?}");
            rule += gradient.zip(&direction(graph.tensor(value), name), |a, b| a * b).data.iter().sum::<f64>();
        }
        let error = (rule - derivative).abs() / derivative.abs();
        assert!(error < 1e-7, "rule {rule:e}, derivative {derivative:e}, error {error:e} in {vt:?}");
    }
}

#[test]
fn attention_maps_are_the_weights_that_made_the_tokens() {
    let model = tiny(settings().swap_remove(0));
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
    let probe = Probe { attention: true, mean_tokens: false };
    let probed = model.probed(&mut graph, &mut parameters, images, probe).expect("fits");
    assert_eq!((probed.size, probed.attention.len()), ([3, 3], 3));
    let leaf = |value, source: &Source| Ok::<_, Infallible>(leaf(&parameters, &graph, (value, source), 0.0));
    let arrays = interpret(&graph, leaf).unwrap_or_else(|never| match never {});
    let pools = graph.nodes().iter().filter(|node| node.op.name() == "attend" && node.scope.ends_with("tokenizer"));
    for (pool, map) in pools.zip(&probed.attention) {
        let (value, pooled, weights) = (pool.inputs[2], pool.outputs[0], &arrays[map.index()]);
        let [n, heads, tokens, pixels] = weights.dims();
        let [_, _, channels] = arrays[value.index()].dims();
        for at in 0..n * tokens * channels {
            let (image, token, channel) = (at / (tokens * channels), at / channels % tokens, at % channels);
            let head = channel / (channels / heads);
            let row = &weights.data[((image * heads + head) * tokens + token) * pixels..][..pixels];
            let seen = |(pixel, weight): (usize, &f64)| {
                weight * arrays[value.index()].data[(image * pixels + pixel) * channels + channel]
            };
            let sum: f64 = row.iter().enumerate().map(seen).sum();
            assert!((sum - arrays[pooled.index()].data[at]).abs() < 1e-12, "{image} {token} {channel}");
        }
    }
}

#[test]
fn with_mean_tokens_every_image_gets_one_answer() {
    let model = tiny(settings().swap_remove(0));
    let logits = |mean_tokens: bool| {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
        let probe = Probe { attention: false, mean_tokens };
        let probed = model.probed(&mut graph, &mut parameters, images, probe).expect("fits");
        let leaf = |value, source: &Source| Ok::<_, Infallible>(leaf(&parameters, &graph, (value, source), 0.0));
        let arrays = interpret(&graph, leaf).unwrap_or_else(|never| match never {});
        arrays[probed.logits.index()].clone()
    };
    let (own, mean) = (logits(false), logits(true));
    assert!(mean.data[..5].iter().zip(&mean.data[5..]).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(own.data[..5].iter().zip(&own.data[5..]).any(|(a, b)| (a - b).abs() > 1e-3));
    let average = |at: usize| (own.data[at] + own.data[at + 5] + own.data[at + 10]) / 3.0;
    assert!((0..5).all(|at| (average(at) - mean.data[at]).abs() < 1e-12), "the head is linear");
}

#[test]
fn settings_that_do_not_divide_are_refused_in_words() {
    let broken = Vt { heads: 5, ..Vt::counted(3, 16, 16, 4) };
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
    let refused = tiny(broken).logits(&mut graph, &mut parameters, images, Mode::Train);
    assert!(refused.is_err_and(|error| error.to_string().contains("5 heads")));
    let unequal = Vt { token_channels: 16, ..Vt::equations(4, 8) };
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
    let refused = tiny(unequal).logits(&mut graph, &mut parameters, images, Mode::Train);
    assert!(refused.is_err_and(|error| error.to_string().contains("identity cannot make 16 channels of 8")));
}
