//! Updates that are alike run as one call: which do, where their tensors stand, and which have to run by themselves. No GPU.

use vistok::graph::{Graph, GraphError, Tensor, Value};
use vistok::kernel::{Capabilities, Elem};
use vistok::models::by_name;
use vistok::ops::{AdamW, Average, Map, RmsProp, Sgd};
use vistok::plan::{Buffer, Layout, Options, Plan, PlannedNode, Step};
use vistok::train::step::{StepOptions, training_step_with};
use vistok::train::{Optimizer, Rule};

const SGD: Sgd = Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
/// Elements that a tensor starts at multiples of: WebGPU's 256 bytes of f16.
const UNIT: usize = 128;
const COUNTS: [usize; 4] = [5, 300, 128, 1];

fn machine() -> Capabilities {
    Capabilities { max_binding_bytes: 1 << 30, f16: true, ..Capabilities::portable() }
}

fn planned_for(graph: &Graph, machine: &Capabilities, rows: bool) -> Plan {
    let layout = Layout::of(&[graph], machine.offset_alignment).expect("names agree");
    Plan::new(graph, &layout, machine, Options { reuse: true, rows }).expect("it fits")
}

fn planned(graph: &Graph) -> Plan {
    planned_for(graph, &machine(), true)
}

/// Four weights, each moved by the gradient that `gradient` makes of it and of the one before, which it gets with its number.
fn program(
    counts: [usize; 4],
    mut gradient: impl FnMut(&mut Graph, Value, Option<(usize, Value)>) -> Result<Value, GraphError>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let rate = graph.input("rate", Tensor::f32([1]));
    let mut before = None;
    for (at, count) in counts.into_iter().enumerate() {
        let name = format!("w{at}");
        let weight = graph.stored("parameters", &name, Tensor::f32([count]))?;
        let made = gradient(&mut graph, weight, before)?;
        let velocity = graph.stored("momentum", &name, Tensor::f32([count]))?;
        graph.scoped(name, |graph| graph.apply(SGD, &[weight, made, velocity, rate]))?;
        before = Some((at, made));
    }
    Ok(graph)
}

fn updates(plan: &Plan) -> Vec<(&PlannedNode, &Step)> {
    let nodes = plan.nodes().iter().filter(|node| node.op.starts_with("sgd"));
    nodes.map(|node| (node, &plan.steps()[node.steps.start])).collect()
}

#[test]
fn tensors_of_a_row_stand_side_by_side_and_one_call_goes_through_them() {
    let graph = program(COUNTS, |graph, weight, _| graph.apply_one(Map::Gelu, &[weight])).expect("shapes fit");
    let plan = planned(&graph);
    let [(node, step)] = updates(&plan)[..] else { panic!("{plan}") };
    assert_eq!((node.label.as_str(), node.outputs.len(), node.steps.len()), ("sgd of 4 tensors", 8, 1));
    let elements = UNIT * (1 + 3 + 1 + 1);
    assert_eq!(step.params[0] as usize, elements / 4, "strips of four");
    let starts: Vec<usize> =
        COUNTS.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count.div_ceil(UNIT) * UNIT))).collect();
    for (input, home) in [(0, Some("parameters")), (1, None), (2, Some("momentum"))] {
        let places: Vec<_> =
            node.inputs.chunks(4).map(|inputs| plan.place(inputs[input]).expect("it has a place")).collect();
        assert!(places.iter().zip(&starts).all(|(place, start)| place.offset == 4 * start), "{places:?}");
        assert!(places.iter().all(|place| place.buffer == places[0].buffer), "{places:?}");
        match (places[0].buffer, home) {
            (Buffer::Home(at), Some(home)) => assert_eq!(plan.layout().homes()[at].name, home),
            (Buffer::Slot(slot), None) => {
                assert_eq!(plan.slots()[slot], 4 * elements);
                assert!(plan.is_apart(slot), "what is in the gaps would be looked at");
            }
            (other, _) => panic!("{other:?}"),
        }
        let whole = step.bindings.iter().find(|place| place.buffer == places[0].buffer).expect("it is bound");
        assert_eq!((whole.offset, whole.bytes), (0, 4 * elements));
    }
    let apart = planned_for(&graph, &machine(), false);
    assert!((0..apart.slots().len()).all(|slot| !apart.is_apart(slot)));
    assert_eq!(updates(&apart).len(), 4);
    assert!(apart.slots().iter().sum::<usize>() < plan.slots().iter().sum(), "gradients live longer in a row");
}

fn labels(plan: &Plan) -> Vec<&str> {
    updates(plan).iter().map(|(node, _)| node.label.as_str()).collect()
}

#[test]
fn a_gradient_made_of_another_stands_apart() {
    // The third reads the second: in one buffer, one call would read and write it.
    let graph = program([64; 4], |graph, weight, before| match before {
        Some((1, before)) => graph.apply_one(Map::Relu, &[before]),
        _ => graph.apply_one(Map::Gelu, &[weight]),
    });
    assert_eq!(labels(&planned(&graph.expect("shapes fit"))), ["sgd at w2", "sgd at w3", "sgd of 2 tensors"]);
}

#[test]
fn what_reads_new_numbers_finds_them() {
    let mut graph = program(COUNTS, |graph, weight, _| graph.apply_one(Map::Gelu, &[weight])).expect("shapes fit");
    let first = graph.nodes().iter().find(|node| node.op.name() == "sgd").expect("there are four").outputs[0];
    let read = graph.apply_one(Map::Relu, &[first]).expect("shapes fit");
    graph.output("read", read);
    assert_eq!(labels(&planned(&graph)), ["sgd at w0", "sgd of 3 tensors"]);
}

#[test]
fn a_gradient_that_two_updates_read_has_one_place() {
    let mut shared = None;
    let graph = program([64; 4], |graph, weight, _| match shared {
        Some(gradient) => Ok(gradient),
        None => Ok(*shared.insert(graph.apply_one(Map::Gelu, &[weight])?)),
    });
    assert_eq!(labels(&planned(&graph.expect("shapes fit"))).len(), 4);
}

#[test]
fn rows_end_where_bindings_do() {
    let graph = program(COUNTS, |graph, weight, _| graph.apply_one(Map::Gelu, &[weight])).expect("shapes fit");
    // 384 elements are the largest tensor, with its gap; a row of 512 just fits.
    let least = Capabilities { max_binding_bytes: 4 * 4 * UNIT, ..machine() };
    let plan = planned_for(&graph, &least, true);
    assert_eq!(labels(&plan), ["sgd of 2 tensors", "sgd of 2 tensors"]);
    assert!(updates(&plan).iter().all(|(_, step)| step.bindings.iter().all(|place| place.bytes <= 4 * 4 * UNIT)));
}

/// What follows the weights runs behind their update, in rows too, whatever other rows there are.
#[test]
fn averages_run_behind_what_they_follow() {
    let mut graph = program(COUNTS, |graph, weight, _| graph.apply_one(Map::Gelu, &[weight])).expect("shapes fit");
    let moved: Vec<Value> =
        graph.nodes().iter().filter(|node| node.op.name() == "sgd").map(|node| node.outputs[0]).collect();
    for (at, weight) in moved.into_iter().enumerate() {
        let tensor = graph.tensor(weight).clone();
        let average = graph.stored("ema", &format!("w{at}"), tensor).expect("a new name");
        graph.apply(Average { decay: 0.9 }, &[average, weight]).expect("shapes fit");
    }
    let plan = planned(&graph);
    let last: Vec<&str> = plan.nodes().iter().rev().take(2).map(|node| node.label.as_str()).collect();
    assert_eq!(last, ["average of 4 tensors", "sgd of 4 tensors"]);
    // Alone, it still runs behind the row that makes what it reads.
    let mut graph = program(COUNTS, |graph, weight, _| graph.apply_one(Map::Gelu, &[weight])).expect("shapes fit");
    let first = graph.nodes().iter().find(|node| node.op.name() == "sgd").expect("there are four").outputs[0];
    let average = graph.stored("ema", "w0", graph.tensor(first).clone()).expect("a new name");
    graph.scoped("w0", |graph| graph.apply(Average { decay: 0.9 }, &[average, first])).expect("shapes fit");
    let plan = planned(&graph);
    let last: Vec<&str> = plan.nodes().iter().rev().take(2).map(|node| node.label.as_str()).collect();
    assert_eq!(last, ["average at w0", "sgd of 4 tensors"]);
}

/// A network's update is a call for what decays and one for what does not, in f32 and in mixed precision.
#[test]
fn a_network_is_updated_by_two_calls() {
    let rms_prop = RmsProp { decay: 0.9, momentum: 0.9, weight_decay: 1e-5, epsilon: 1e-3, tensorflow: true };
    let adamw = AdamW { beta_1: 0.9, beta_2: 0.999, weight_decay: 0.01, epsilon: 1e-8 };
    let rules = [Rule::Sgd(Sgd { weight_decay: 1e-4, ..SGD }), Rule::RmsProp(rms_prop), Rule::AdamW(adamw)];
    for (name, images) in
        [("resnet50", [2, 64, 64, 3]), ("vt-resnet18", [2, 64, 64, 3]), ("vt-fpn-small", [2, 32, 32, 3])]
    {
        let model = by_name(name, 10).expect("there is such a network");
        for (elem, rule) in [Elem::F32, Elem::F16].into_iter().flat_map(|elem| rules.map(|rule| (elem, rule))) {
            let options = StepOptions { elem, ema: Some(0.999), ..StepOptions::default() };
            let step = training_step_with(&options, &*model, images, Optimizer::from(rule)).expect("the images fit");
            let plan = planned(&step.graph);
            let rows = |averages: bool| -> (usize, usize) {
                let rows = plan.nodes().iter().filter(|node| (node.op == "average") == averages);
                let counts =
                    rows.filter_map(|node| node.label.strip_suffix(" tensors")?.rsplit(' ').next()?.parse().ok());
                counts.fold((0, 0), |(rows, tensors), count: usize| (rows + 1, tensors + count))
            };
            assert_eq!(rows(false), (2, step.parameters.learned().count()), "{name} {elem:?} {rule:?}");
            // One for the weights, one for the running averages.
            assert_eq!(rows(true), (2, step.parameters.iter().count()), "{name} {elem:?} {rule:?}");
        }
    }
}

#[test]
fn what_asks_something_of_all_gradients_asks_it_of_rows() {
    let model = by_name("resnet50", 10).expect("there is such a network");
    let options = StepOptions { elem: Elem::F16, ..StepOptions::default() };
    let clipped = Optimizer { clip: Some(1.0), ..SGD.into() };
    let step = training_step_with(&options, &*model, [2, 64, 64, 3], clipped).expect("the images fit");
    for (op, extra) in [("loss_scale", "scale, steps and skipped"), ("clip_norm", "the factor")] {
        let calls = |rows: bool| {
            let plan = planned_for(&step.graph, &machine(), rows);
            let node = plan.nodes().iter().find(|node| node.op == op).expect("there is one").clone();
            assert!(node.inputs.len() > 161, "every gradient, and {extra}");
            node.steps.len()
        };
        // A look at f16 and one at f32, and what is made of them; else six tensors a look.
        assert_eq!((calls(true), calls(false)), (3, 29), "{op}");
    }
}
