//! Models against published counts, and their gradients against a numerical derivative; no GPU.

#[path = "models/counts.rs"]
mod counts;

use std::convert::Infallible;

use vistok::graph::{Draw, Graph, GraphError, Source, Tensor, Value, interpret, numbers};
use vistok::kernel::{Capabilities, Elem};
use vistok::models::layers::{Norm, Pointwise};
use vistok::models::parameters::{PARAMETERS, STATISTICS};
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::models::vt::{
    Activation, Attention, First, Interaction, Later, Position, Recurrent, Scale, Split, Transformer, Vt,
};
use vistok::models::{Features, Mode, Model, Parameters, Probe, Projecting, VtResNet};
use vistok::ops::{self, CrossEntropy, Fill, Sgd};
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::{Array, Random};
use vistok::train::Recompute;
use vistok::train::step::{StepOptions, training_step_with};

/// As small as a VT-ResNet gets that still has every kind of layer.
fn tiny(vt: Vt) -> VtResNet {
    // Where nothing maps between C and C_T, the map must come with C_T channels.
    let channels = if vt.tokenizer.token == Pointwise::Identity { vt.channels } else { 8 };
    let trunk = Trunk::new(
        Stem::Small { kernel: 3, channels: 4, stride: 1, pool: false },
        Block::Basic,
        vec![Stage { channels, blocks: 1, stride: 2 }],
    );
    VtResNet::of("tiny", trunk, vt, 3, 5)
}

/// Every preset, where a map has 3x3 pixels.
fn presets() -> [Vt; 4] {
    let mut early = Vt::early(4, 16, 16, [2, 4]);
    early.tokenizer.position = Position::Downsampled { size: 4, halvings: 1 };
    [Vt::counted(3, 16, 16, 4).with_heads(2), Vt::counted_alike(4, 16, 4), Vt::iccv(4, 8), early]
}

/// The presets, and every choice that none of them makes.
fn networks() -> Vec<VtResNet> {
    let changed = |change: fn(&mut VtResNet)| {
        let mut network = tiny(presets()[0]);
        change(&mut network);
        network
    };
    let attention = Attention { heads: 2, scale: Scale::Channels };
    let mut networks: Vec<VtResNet> = presets().map(tiny).into();
    networks.extend([
        changed(|network| network.vt.norm = Norm::None),
        changed(|network| network.vt.norm = Norm::Layer),
        changed(|network| {
            let tokenizer = &mut network.vt.tokenizer;
            (tokenizer.first, tokenizer.later, tokenizer.value) = (First::Pooling, Later::Anew, Pointwise::Dense);
        }),
        changed(|network| {
            network.vt.interaction = Interaction::GraphConv;
            (network.projecting, network.features) = (Projecting::EveryBlock, Features::Pixels);
        }),
        changed(|network| {
            network.vt.interaction = Interaction::None;
            network.vt.tokenizer.later = Later::Kept;
            network.projecting = Projecting::NoBlock;
        }),
        changed(|network| {
            network.vt.tokens = 4;
            network.vt.projector.activation = Activation::None;
            if let Later::Recurrent(recurrent) = &mut network.vt.tokenizer.later {
                recurrent.split = Split::Half;
            }
        }),
    ]);
    let mut clusters = tiny(presets()[0]);
    clusters.vt.tokenizer.first = First::Clustering { rounds: 2, attention };
    networks.push(clusters);
    networks
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
    for network in networks() {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
        let labels = graph.input("labels", Tensor::new([3], Elem::U32));
        let logits = network.logits(&mut graph, &mut parameters, images, Mode::Train).expect("fits");
        let loss = graph.apply(CrossEntropy::default(), &[logits, labels]).expect("fits")[0];
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
            // What is added to all pixels or tokens alike may move no softmax, and a norm behind takes it away: its gradient is 0
            // then, as the derivative below has to say, too.
            let moot = name.ends_with("bias");
            assert!(largest > 1e-9 || moot, "{name} has a gradient of {largest:e} in {network:?}");
            rule += gradient.zip(&direction(graph.tensor(value), name), |a, b| a * b).data.iter().sum::<f64>();
        }
        let error = (rule - derivative).abs() / derivative.abs();
        assert!(error < 1e-7, "rule {rule:e}, derivative {derivative:e}, error {error:e} in {network:?}");
    }
}

#[test]
fn attention_maps_are_the_weights_that_made_the_tokens() {
    let model = tiny(presets()[0]);
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
    let model = tiny(presets()[0]);
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
fn every_network_trains_in_mixed_precision_and_with_blocks_made_again() -> Result<(), Box<dyn std::error::Error>> {
    let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let machine = Capabilities::portable();
    for network in networks() {
        let steps = [Recompute::Nothing, Recompute::Everything].map(|recompute| {
            let step = training_step_with(
                &StepOptions { elem: Elem::F16, recompute, ..StepOptions::default() },
                &network,
                [3, 6, 6, 2],
                sgd,
            )?;
            let layout = Layout::of(&[&step.graph], machine.offset_alignment)?;
            let plan = Plan::new(&step.graph, &layout, &machine, Options::default())?;
            Ok::<_, Box<dyn std::error::Error>>((step.gradients.len(), plan.steps().len()))
        });
        let [kept, again] = steps;
        let (kept, again) = (kept?, again?);
        assert!(kept.0 == again.0 && kept.1 < again.1, "{network:?}: {kept:?} and {again:?}");
    }
    Ok(())
}

/// What is said of a network that cannot be built.
fn refusal(network: &VtResNet) -> String {
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let images = graph.input("images", Tensor::f32([3, 6, 6, 2]));
    let refused = network.logits(&mut graph, &mut parameters, images, Mode::Train);
    refused.err().map(|error: GraphError| error.to_string()).unwrap_or_default()
}

#[test]
fn settings_that_do_not_divide_are_refused_in_words() {
    let said = refusal(&tiny(Vt::counted(3, 16, 16, 4).with_heads(5)));
    assert!(said.contains("5 heads"), "{said}");
    let said = refusal(&tiny(Vt { token_channels: 16, ..Vt::iccv(4, 8) }));
    assert!(said.contains("identity cannot make 16 channels of 8"), "{said}");
    let mut grouped = Vt::counted(3, 16, 16, 4);
    if let Interaction::Attention(Transformer { key_query, .. }) = &mut grouped.interaction {
        *key_query = Pointwise::Groups(3);
    }
    let said = refusal(&tiny(grouped));
    assert!(said.contains("3 groups do not divide"), "{said}");
}

#[test]
fn options_that_contradict_each_other_are_refused_with_the_remedy() {
    let halves = |network: &mut VtResNet| {
        if let Later::Recurrent(Recurrent { split, .. }) = &mut network.vt.tokenizer.later {
            *split = Split::Half;
        }
    };
    type Change = (fn(&mut VtResNet), &'static str);
    let changes: [Change; 8] = [
        (|network| network.blocks = 0, "take at least one, or a ResNet"),
        (|network| network.projecting = Projecting::EveryBlock, "take Projecting::AllButLast, or Features::Pixels"),
        (|network| network.features = Features::Pixels, "take Projecting::EveryBlock, or Features::Tokens"),
        (|network| network.vt.tokenizer.later = Later::Kept, "take Projecting::NoBlock, or Later::Recurrent"),
        (
            |network| (network.projecting, network.vt.tokenizer.later) = (Projecting::NoBlock, Later::Anew),
            "take Projecting::AllButLast, or Later::Kept",
        ),
        (
            |network| {
                network.vt.tokenizer.first = First::Pooling;
                network.vt.tokenizer.position = Position::Downsampled { size: 4, halvings: 1 };
            },
            "take First::Filter or Position::None",
        ),
        (|network| network.vt.norm = Norm::Layer, ""),
        (|network| network.vt.tokens = 0, "take at least one"),
    ];
    for (change, remedy) in changes {
        let mut network = tiny(presets()[0]);
        change(&mut network);
        let said = refusal(&network);
        assert!(said.contains(remedy) && said.is_empty() == remedy.is_empty(), "`{said}` does not say `{remedy}`");
    }
    let mut odd = tiny(presets()[0]);
    halves(&mut odd);
    let said = refusal(&odd);
    assert!(said.contains("3 tokens have no halves: take an even number, or Split::Full"), "{said}");
}
