//! What training leaves out at random, where it stands in networks: compared with the networks themselves in f64, without a GPU.

use std::convert::Infallible;
use std::sync::Arc;

use vistok::graph::{Draw, Graph, Shape, Source, Tensor, Value, interpret, numbers};
use vistok::kernel::Elem;
use vistok::models::parameters::{PARAMETERS, TEACHER};
use vistok::models::{Builder, DROPOUT, Mode, Network, Parameters, Regularization, SURVIVAL, by_name};
use vistok::ops::{self, CrossEntropy, Distillation, Dropout, Fill, Sgd, StochasticDepth};
use vistok::reference::{Array, Random};
use vistok::train::step::{StepOptions, TrainingStep, training_step_with};
use vistok::train::weights::declared;
use vistok::train::{Distilled, Teacher};

const DEPTH: Regularization = Regularization { depth: Some(0.9), dropout: None };

/// Logits, the loss and its gradients by parameter, where these images skip these blocks.
struct Subject {
    graph: Graph,
    logits: Value,
    gradients: Vec<(String, Value)>,
}

const IMAGES: [usize; 4] = [3, 16, 16, 3];

impl Subject {
    fn of(name: &str, regularization: Regularization) -> Self {
        let model = by_name(name, 3).expect("a preset");
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32(IMAGES));
        let labels = graph.input("labels", Tensor::new([IMAGES[0]], Elem::U32));
        let b = &mut Builder::new(&mut graph, &mut parameters, Mode::Train).regularized(regularization);
        let logits = model.build(b, images).expect("the images fit");
        let loss = graph.apply(CrossEntropy::default(), &[logits, labels]).expect("labels fit")[0];
        let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[]).expect("one");
        let learned: Vec<(String, Value)> = parameters
            .learned()
            .map(|known| {
                (known.name.clone(), graph.stored(known.home, &known.name, known.tensor.clone()).expect("known"))
            })
            .collect();
        let wrt: Vec<Value> = learned.iter().map(|(_, value)| *value).collect();
        let found = ops::gradients(&mut graph, &[(loss, one)], &wrt).expect("every op has a gradient");
        let names = learned.into_iter().map(|(name, _)| name);
        let gradients = names.zip(found).map(|(name, found)| (name, found.expect("it matters"))).collect();
        Self { graph, logits, gradients }
    }

    /// Every value; `survival` says an image's number of a block.
    fn run(&self, survival: impl Fn(usize, usize) -> f64 + Sync) -> Vec<Array<f64>> {
        let leaf = |value: Value, source: &Source| {
            let shape = &self.graph.tensor(value).shape;
            let mut random = Random::named(7, &format!("{source:?}"));
            let drawn = match source {
                Source::Input(name) if name == SURVIVAL => {
                    Array::from_fn(shape, |at| survival(at / shape[1], at % shape[1]))
                }
                Source::Input(name) if name == DROPOUT => numbers(shape, Draw::Labels(1 << 16), &mut random),
                Source::Input(name) if name == "labels" => numbers(shape, Draw::Labels(3), &mut random),
                Source::Stored { name, .. } if name.ends_with("variance") => {
                    numbers(shape, Draw::Between(0.5, 1.5), &mut random)
                }
                _ => numbers(shape, Draw::Between(-0.5, 0.5), &mut random),
            };
            Ok::<_, Infallible>(drawn)
        };
        interpret(&self.graph, leaf).unwrap_or_else(|never| match never {})
    }

    fn blocks(&self) -> usize {
        self.graph.find_input(SURVIVAL).map_or(0, |value| self.graph.tensor(value).shape[1])
    }
}

/// Networks small enough to compute here, and how many residual blocks they have.
const SMALL: [(&str, usize); 5] = [
    ("resnet-small", 2),
    ("resnet-small-se", 2),
    ("resnet-small-cbam", 2),
    ("sac-resnet-small", 4),
    ("vt-resnet-demo", 3),
];

#[test]
fn every_residual_block_is_counted_once_in_order() {
    for (name, wanted) in [("resnet18", 8), ("resnet50", 16), ("vt-resnet18", 8)].into_iter().chain(SMALL) {
        let subject = Subject::of(name, DEPTH);
        assert_eq!(subject.blocks(), wanted, "{name}");
        // What a backward pass adds stands in scopes that end in a stroke.
        let forward = subject.graph.nodes().iter().filter(|node| !node.scope.contains('\''));
        let mut places: Vec<(usize, String)> = forward
            .filter_map(|node| Some((node.op.downcast::<StochasticDepth>()?.block, node.scope.clone())))
            .map(|(block, scope)| (block, scope.split('/').take(2).collect::<Vec<_>>().join("/")))
            .collect();
        places.sort();
        places.dedup();
        let blocks: Vec<usize> = places.iter().map(|(block, _)| *block).collect();
        assert_eq!(blocks, (0..wanted).collect::<Vec<_>>(), "{name}: {places:?}");
        let network = by_name(name, 3).expect("a preset");
        let scopes: Vec<String> = network.blocks().into_iter().skip(1).collect(); // behind the stem
        assert_eq!(places.into_iter().map(|(_, scope)| scope).collect::<Vec<_>>(), scopes, "{name}");
    }
}

#[test]
fn a_network_whose_blocks_all_survive_is_the_plain_one() {
    for (name, _) in SMALL {
        let (plain, deep) = (Subject::of(name, Regularization::default()), Subject::of(name, DEPTH));
        assert_eq!(plain.blocks(), 0, "nobody asked");
        let (wanted, found) = (plain.run(|_, _| 1.0), deep.run(|_, _| 1.0));
        assert_eq!(wanted[plain.logits.index()], found[deep.logits.index()], "{name}");
        for ((parameter, wanted_at), (_, found_at)) in plain.gradients.iter().zip(&deep.gradients) {
            assert_eq!(wanted[wanted_at.index()], found[found_at.index()], "{name} {parameter}");
        }
    }
}

/// A block that all images skip learns nothing, one that some skip does; nobody else is kept from it. Evaluation has none of this.
#[test]
fn a_block_that_all_skip_learns_nothing() {
    for (name, blocks) in SMALL {
        let (subject, network) = (Subject::of(name, DEPTH), by_name(name, 3).expect("a preset"));
        let skipped = blocks - 2;
        let scope = format!("{}/", network.blocks()[skipped + 1]);
        let largest =
            |all: &[Array<f64>], value: Value| all[value.index()].data.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let values = subject.run(|_, block| if block == skipped { 0.0 } else { 1.0 });
        let some = subject.run(|image, block| if block == skipped && image > 0 { 0.0 } else { 1.0 });
        let whole = subject.run(|_, _| 1.0);
        let (mut within, mut learns) = (0, 0);
        for (parameter, gradient) in &subject.gradients {
            // Shortcuts and tokenizers are no branches.
            let is_branch = parameter.starts_with(&scope)
                && !["shortcut", "tokenizer", "token"].iter().any(|word| parameter.contains(word));
            // What a dead ReLU keeps from learning learns nothing anyway.
            let (slope, is_alive) = (largest(&values, *gradient), largest(&whole, *gradient) > 0.0);
            assert_eq!(slope > 0.0, is_alive && !is_branch, "{name}: the gradient of {parameter} is {slope}");
            learns += usize::from(is_branch && largest(&some, *gradient) > 0.0);
            within += usize::from(is_branch);
        }
        assert!(within > 0, "{name} has no parameter in {scope}");
        assert!(learns > 0, "{name}: {scope} learns of no image");
    }
}

#[test]
fn evaluation_knows_of_nothing() {
    let network = Network::named("vt-resnet18", 3).expect("a preset");
    let graph = |regularization| {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32(IMAGES));
        let b = &mut Builder::new(&mut graph, &mut parameters, Mode::Evaluate).regularized(regularization);
        network.model().build(b, images).expect("the images fit");
        graph.to_string()
    };
    assert_eq!(graph(Regularization { dropout: Some(0.2), ..DEPTH }), graph(Regularization::default()));
}

/// Behind the mean, before the classifier; the share is 0 of nothing.
#[test]
fn features_are_dropped_before_the_last_layer() {
    for (name, _) in SMALL {
        let [plain, none, half] =
            [None, Some(0.0), Some(0.5)].map(|dropout| Subject::of(name, Regularization { depth: None, dropout }));
        let [wanted, found, dropped] = [&plain, &none, &half].map(|subject| subject.run(|_, _| 1.0));
        assert_eq!(wanted[plain.logits.index()], found[none.logits.index()], "{name}");
        assert_ne!(wanted[plain.logits.index()], dropped[half.logits.index()], "{name}");
        let node = half.graph.nodes().iter().find(|node| node.op.downcast::<Dropout>().is_some()).expect("a node");
        let (x, y) = (&dropped[node.inputs[0].index()], &dropped[node.outputs[0].index()]);
        assert_eq!((node.scope.as_str(), x.shape.len()), ("head", 2), "{name}");
        assert!(y.data.contains(&0.0) && x.data.iter().zip(&y.data).all(|(x, y)| *y == 0.0 || *y == 2.0 * x), "{name}");
    }
}

/// Numbers of a leaf by its name; learned ones moved this far along a direction.
fn leaf(step: &TrainingStep, teacher: &Parameters, (value, source): (Value, &Source), by: f64) -> Array<f64> {
    let shape = &step.graph.tensor(value).shape;
    match source {
        Source::Stored { home: TEACHER, name } => {
            let own = name.strip_prefix("teacher/").expect("its scope");
            let known = teacher.iter().find(|known| known.name == own).expect("a parameter of the teacher");
            let data = known.initial(3).into_iter().map(f64::from).collect();
            Array { shape: shape.to_vec(), data }
        }
        Source::Stored { home: PARAMETERS, name } => {
            let direction = numbers(shape, Draw::Between(-1.0, 1.0), &mut Random::named(23, name));
            step.sample(value, source, 5).zip(&direction, |number, direction| number + by * direction)
        }
        _ => step.sample(value, source, 5),
    }
}

/// By hand: the teacher's logits from its own graph for evaluation, the student's from its own for training, and the loss of both.
#[test]
fn a_step_loses_by_what_the_teacher_says_and_learns_of_that() {
    const IMAGES: [usize; 4] = [3, 28, 28, 1];
    let (student, network) =
        (by_name("resnet-small", 3).expect("a preset"), Network::named("vt-resnet-demo", 3).expect("a preset"));
    let declared = declared(network.model(), [28, 28, 1]).expect("the images fit");
    let taught =
        Teacher::of(network.clone(), [28, 28, 1], None, |parameter| Ok(parameter.initial(3))).expect("it fits");
    let distilled = Distilled { share: 0.8, temperature: 2.0, teacher: Arc::new(taught) };
    let options = StepOptions { distillation: Some(distilled), smoothing: 0.1, ..StepOptions::default() };
    let sgd = Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
    let step = training_step_with(&options, &*student, IMAGES, sgd).expect("it fits");
    let run = |by: f64| {
        let leaf = |value, source: &Source| Ok::<_, Infallible>(leaf(&step, &declared, (value, source), by));
        interpret(&step.graph, leaf).unwrap_or_else(|never| match never {})
    };
    let loss = step.graph.find_output("loss").expect("the loss");
    let all = run(0.0);

    let mut graph = Graph::new();
    let images = graph.input("images", Tensor::f32(IMAGES));
    let told =
        network.model().logits(&mut graph, &mut Parameters::kept_in(TEACHER), images, Mode::Evaluate).expect("it fits");
    let own = student.logits(&mut graph, &mut Parameters::new(), images, Mode::Train).expect("it fits");
    let labels = graph.input("labels", Tensor::new([3], Elem::U32));
    let op = Distillation { share: 0.8, temperature: 2.0, ignore: None, smoothing: 0.1 };
    let both = graph.apply(op, &[own, labels, told]).expect("it fits");
    let by_hand = |value: Value, source: &Source| {
        let source = match source {
            Source::Stored { home: TEACHER, name } => Source::Stored { home: TEACHER, name: format!("teacher/{name}") },
            source => source.clone(),
        };
        let known = step.graph.values().find(|&value| *step.graph.source(value) == source);
        let known = known.unwrap_or_else(|| panic!("the step has no {source:?} {}", graph.tensor(value)));
        Ok::<_, Infallible>(leaf(&step, &declared, (known, &source), 0.0))
    };
    let wanted = interpret(&graph, by_hand).unwrap_or_else(|never| match never {})[both[0].index()].data[0];
    let found = all[loss.index()].data[0];
    assert!((found - wanted).abs() < 1e-9 * wanted, "{found} and {wanted} by hand");

    let slope: f64 = step
        .gradients
        .iter()
        .map(|(name, gradient)| {
            let gradient = &all[gradient.index()];
            let shape = Shape::from(&gradient.shape[..]);
            let direction = numbers(&shape, Draw::Between(-1.0, 1.0), &mut Random::named(23, name));
            gradient.data.iter().zip(&direction.data).map(|(slope, direction)| slope * direction).sum::<f64>()
        })
        .sum();
    let by = 1e-6;
    let difference = (run(by)[loss.index()].data[0] - run(-by)[loss.index()].data[0]) / (2.0 * by);
    assert!((slope - difference).abs() < 1e-5 * difference.abs().max(1.0), "{slope} and {difference}");
    assert!(step.gradients.iter().all(|(name, _)| !name.starts_with(TEACHER)), "the teacher learns");
}
