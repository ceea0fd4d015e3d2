//! Attention fused: maps of pixels move to tokens, and projectors take in what follows them.

use vistok::graph::{Graph, Tensor, Value};
use vistok::kernel::{Capabilities, Elem, Fragment};
use vistok::models::{Parameters, by_name};
use vistok::ops::{Add, Attend, BatchNormFixed, Conv2d, Map, Repeat, Reshape, Sgd};
use vistok::plan::{Layout, Options, Plan, PlannedNode};
use vistok::train::step::evaluation_in;

use super::{assert_same, names};

/// Pixels and tokens, [rows, channels] of q, k and perhaps v, each behind a map in so many groups, or none for 0 → their attention;
/// pixels are an image where `image`.
fn attention(heads: usize, asked: [usize; 3], known: [usize; 3], values: Option<[usize; 3]>, image: bool) -> Graph {
    let mut graph = Graph::new();
    let mut behind_map = |name: &str, [rows, channels, groups]: [usize; 3]| {
        let apply = |graph: &mut Graph, shape: &[usize], x| graph.apply_one(Reshape { shape: shape.into() }, &[x]);
        let x = graph.input(name, Tensor::f32([2, rows, channels]));
        if groups == 0 {
            return x;
        }
        let weight = graph.input(format!("{name}/weight"), Tensor::f32([1, 1, channels / groups, channels]));
        let seen = if image { apply(&mut graph, &[2, rows / 2, 2, channels], x).expect("it fits") } else { x };
        let mapped = graph.apply_one(Conv2d::new(1, 0).groups(groups), &[seen, weight]).expect("it fits");
        if image { apply(&mut graph, &[2, rows, channels], mapped).expect("it fits") } else { mapped }
    };
    let mut inputs = vec![behind_map("q", asked), behind_map("k", known)];
    inputs.extend(values.map(|values| behind_map("v", values)));
    let y = graph.apply(Attend { heads, scale: 0.5 }, &inputs).expect("it fits")[0];
    graph.output("y", y);
    graph
}

#[test]
fn maps_of_pixels_move_to_tokens() {
    // Which rows are mapped once it is fused, and how many inputs the attention has.
    let moved: [(Graph, &[usize], usize); 12] = [
        (attention(1, [30, 8, 1], [4, 8, 0], Some([4, 6, 0]), false), &[4], 3),
        (attention(1, [30, 8, 2], [4, 8, 0], None, true), &[4], 3),
        (attention(1, [4, 8, 0], [30, 8, 1], Some([30, 8, 0]), false), &[4], 3),
        (attention(1, [4, 8, 0], [30, 8, 0], Some([30, 6, 3]), true), &[4], 3),
        (attention(2, [4, 8, 2], [30, 8, 4], Some([30, 6, 2]), false), &[4, 4, 4], 3),
        (attention(1, [4, 8, 0], [30, 8, 2], None, false), &[4, 4], 2),
        // Heads share what the map mixes.
        (attention(2, [4, 8, 0], [30, 8, 1], Some([30, 8, 1]), false), &[30, 30], 3),
        (attention(2, [30, 8, 1], [4, 8, 0], None, false), &[30], 2),
        // Tokens among themselves, or as many as there are pixels, stay.
        (attention(1, [30, 8, 8], [4, 8, 0], None, false), &[4], 3),
        (attention(1, [4, 8, 1], [4, 8, 1], Some([4, 8, 1]), false), &[4, 4, 4], 3),
        (attention(1, [30, 8, 1], [28, 8, 0], None, false), &[28], 3),
        (attention(1, [28, 8, 1], [28, 8, 0], None, false), &[28], 2),
    ];
    for (at, (graph, mapped, inputs)) in moved.into_iter().enumerate() {
        let fused = graph.fused().expect("it fits").graph;
        let mut found = Vec::new();
        for node in fused.nodes() {
            if node.op.name().starts_with("conv2d") {
                let shape = &fused.tensor(node.inputs[0]).shape;
                found.push(shape.count() / 2 / shape[shape.len() - 1]);
            } else if node.op.name() == "attend" {
                assert_eq!(node.inputs.len(), inputs, "{at}");
            }
        }
        assert_eq!(found, mapped, "{at}");
        assert_same(&graph, &at.to_string());
    }
}

#[test]
fn maps_that_others_read_do_not_move() {
    let mut graph = attention(1, [4, 8, 0], [30, 8, 1], Some([30, 8, 0]), false);
    let mapped = graph.nodes()[0].outputs[0];
    assert_eq!(names(&graph), ["conv2d_backward_x", "attend"]);
    let wanted = graph.fused_for(&[mapped]).expect("it fits");
    assert!(wanted.value(mapped).is_some(), "what is wanted is made");
    graph.output("mapped", mapped);
    assert_eq!(names(&graph), ["conv2d", "attend"]);

    // Rows that were images of another batch: what axis 0 was does not matter.
    let mut graph = Graph::new();
    let [x, weight, tokens] =
        [&[2, 3, 16, 8][..], &[8, 8], &[6, 2, 8]].map(|shape| graph.input(format!("{shape:?}"), Tensor::f32(shape)));
    let mapped = graph.apply_one(Conv2d::new(1, 0), &[x, weight]).expect("it fits");
    let rows = graph.apply_one(Reshape { shape: [6, 16, 8].into() }, &[mapped]).expect("it fits");
    let y = graph.apply(Attend { heads: 1, scale: 1.0 }, &[rows, tokens]).expect("it fits")[0];
    graph.output("y", y);
    assert_eq!(names(&graph), ["reshape", "conv2d_backward_x", "attend"]);
}

#[test]
fn maps_whose_weights_are_updated_do_not_move() {
    let mut graph = Graph::new();
    let [tokens, pixels] =
        [("tokens", 4), ("pixels", 30)].map(|(name, rows)| graph.input(name, Tensor::f32([1, rows, 8])));
    let [gradient, rate] =
        [("gradient", &[8, 8][..]), ("rate", &[1])].map(|(name, shape)| graph.input(name, Tensor::f32(shape)));
    let [weight, velocity] =
        ["weight", "velocity"].map(|name| graph.stored("parameters", name, Tensor::f32([8, 8])).expect("a first one"));
    let known = graph.apply_one(Conv2d::new(1, 0), &[pixels, weight]).expect("it fits");
    let once = graph.stored("parameters", "once", Tensor::f32([1, 4, 8])).expect("a first one");
    let asking = graph.apply_one(Repeat { times: 1 }, &[once]).expect("it fits");
    let sum = graph.apply_one(Add, &[asking, tokens]).expect("it fits");
    let sgd = Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false };
    graph.apply(sgd, &[weight, gradient, velocity, rate]).expect("it fits");
    let y = graph.apply(Attend { heads: 1, scale: 1.0 }, &[sum, known]).expect("it fits")[0];
    graph.output("y", y);
    assert_eq!(
        names(&graph),
        ["conv2d", "reshape", "add", "sgd", "attend"],
        "it would see the weight as the update left it"
    );
}

/// Pixels, tokens and what is normalized, added to pixels and rectified of their attention: y.
fn projected(graph: &mut Graph, swapped: bool) -> Value {
    let [pixels, tokens, values] = [("pixels", [2, 30, 8]), ("tokens", [2, 4, 8]), ("values", [2, 4, 8])]
        .map(|(name, shape)| graph.input(name, Tensor::f32(shape)));
    let vectors = ["gain", "bias", "mean", "variance"].map(|name| graph.input(name, Tensor::f32([8])));
    let y = graph.apply(Attend { heads: 2, scale: 0.5 }, &[pixels, tokens, values]).expect("it fits")[0];
    let y = graph.apply_one(BatchNormFixed::new(1e-5), &[&[y], &vectors[..]].concat()).expect("it fits");
    let y = graph.apply_one(Add, &if swapped { [pixels, y] } else { [y, pixels] }).expect("it fits");
    graph.apply_one(Map::Relu, &[y]).expect("it fits")
}

#[test]
fn a_projector_is_one_pass_over_the_pixels() {
    for swapped in [false, true] {
        let mut graph = Graph::new();
        let y = projected(&mut graph, swapped);
        graph.output("y", y);
        assert_eq!(names(&graph), ["batch_norm_fixed", "attend_shortcut"]);
        assert_same(&graph, "projector");
    }
}

#[test]
fn what_is_no_projector_is_not_taken_for_one() {
    // More than sixteen keys, or fewer queries than keys: the sum stays by itself.
    for [queries, keys] in [[30, 17], [4, 9]] {
        let mut graph = Graph::new();
        let [q, k, v] =
            [("q", queries), ("k", keys), ("v", keys)].map(|(name, rows)| graph.input(name, Tensor::f32([2, rows, 8])));
        let y = graph.apply(Attend { heads: 1, scale: 0.5 }, &[q, k, v]).expect("it fits")[0];
        let y = graph.apply_one(Add, &[y, q]).expect("it fits");
        graph.output("y", y);
        assert_eq!(names(&graph), ["attend", "add"], "{queries} queries of {keys} keys");
    }
    // What is wanted of the attention before it is normalized.
    let mut graph = Graph::new();
    let y = projected(&mut graph, false);
    graph.output("y", y);
    let attended = graph.nodes()[0].outputs[0];
    graph.output("attended", attended);
    assert_eq!(names(&graph), ["attend", "batch_norm_fixed"]);
}

/// A whole block is some fifteen kernel calls, of which three see pixels: tokenizer, the sum of its parts, and projector with norm,
/// shortcut and ReLU.
#[test]
fn a_block_of_visual_tokens_is_a_handful_of_calls() {
    let machine = Capabilities {
        fragment: Some(Fragment::Sixteen),
        subgroup: Some(32),
        f16: true,
        max_workgroup: 1024,
        max_workgroup_bytes: 48 << 10,
        max_binding_bytes: usize::MAX >> 1,
        ..Capabilities::portable()
    };
    let model = by_name("vt-resnet50", 1000).expect("a preset");
    let graph = evaluation_in(Elem::F16, &*model, &mut Parameters::new(), [64, 224, 224, 3]).expect("the images fit");
    let graph = graph.fused().expect("it fits").graph;
    let layout = Layout::of(&[&graph], 256).expect("names agree");
    let plan = Plan::new(&graph, &layout, &machine, Options::default()).expect("it fits");
    let calls = |block: &str, pixels: bool| {
        let nodes = plan.nodes().iter().filter(|node| node.scope.starts_with(block));
        let sees = |node: &&PlannedNode| node.inputs.iter().any(|&x| graph.tensor(x).shape.starts_with(&[64, 196]));
        nodes.filter(|node| !pixels || sees(node)).map(|node| node.steps.len()).sum::<usize>()
    };
    assert_eq!([1, 2, 3].map(|at| calls(&format!("stage5/vt{at}"), false)), [15, 16, 12]);
    assert_eq!([1, 2, 3].map(|at| calls(&format!("stage5/vt{at}"), true)), [3, 3, 2]);
}
