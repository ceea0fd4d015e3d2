//! ResNet-18 and ResNet-50 with torchvision's weights give what torchvision gives: logits, loss, gradients, running averages.
//!
//! `tests/torchvision/write.py` computed what is expected. Weights and images are drawn by the same counter there and here, so
//! that networks of full width need no large file. Everything on the CPU; `tests/cli/sight.rs` has the GPU.

#[allow(dead_code, reason = "other tests draw more")]
#[path = "torchvision/drawn.rs"]
mod drawn;

use std::convert::Infallible;

use serde_json::Value as Json;
use vistok::graph::{Arrays, Graph, Source, Tensor, Value, interpret};
use vistok::kernel::Elem;
use vistok::models::parameters::{PARAMETERS, STATISTICS};
use vistok::models::pytorch::Counterpart;
use vistok::models::{Mode, Network, Parameter, Parameters};
use vistok::ops::{self, CrossEntropy, Fill};
use vistok::reference::{Array, Real};
use vistok::train::weights::{Names, Weights};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What a script says of a tensor: its largest number, and some places.
struct Sampled<'a> {
    name: &'a str,
    largest: f64,
    places: Vec<(usize, f64)>,
}

fn sampled<'a>(told: &'a Json, kind: &str) -> Vec<Sampled<'a>> {
    let numbers =
        |told: &Json| -> Vec<f64> { told.as_array().into_iter().flatten().filter_map(Json::as_f64).collect() };
    let all = told[kind].as_object().into_iter().flatten().map(|(name, told)| {
        let places = numbers(&told["at"]).into_iter().map(|at| at as usize).zip(numbers(&told["is"])).collect();
        Sampled { name, largest: told["largest"].as_f64().unwrap_or(f64::NAN), places }
    });
    all.collect()
}

/// A network, its weights by parameter, and the batch that the script computed with.
struct Subject {
    told: Json,
    network: Network,
    weights: Weights,
}

impl Subject {
    fn of(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let told = drawn::told(name)?;
        let weights = Weights::parse(name, drawn::state_dict(&told)?)?;
        assert_eq!(weights.names(), Names::PyTorch);
        let network = weights.network()?;
        assert_eq!(network.model().name(), name, "the network was not recognized by its tensors");
        Ok(Self { told, network, weights })
    }

    /// The graph of logits and loss in this mode, and its parameters.
    fn graph(&self, mode: Mode) -> Result<(Graph, Parameters, [Value; 2]), Box<dyn std::error::Error>> {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let images = graph.input("images", Tensor::f32([2, 64, 64, 3]));
        let labels = graph.input("labels", Tensor::new([2], Elem::U32));
        let logits = self.network.model().logits(&mut graph, &mut parameters, images, mode)?;
        let loss = graph.apply(CrossEntropy::default(), &[logits, labels])?[0];
        Ok((graph, parameters, [logits, loss]))
    }

    fn interpret<T: Real>(&self, graph: &Graph, parameters: &Parameters) -> Arrays<T> {
        self.weights.check("the model", parameters).expect("torchvision's state dict fits");
        let leaf = |value, source: &Source| {
            let shape = graph.tensor(value).shape.to_vec();
            let numbers = match source {
                Source::Input(name) if name == "labels" => vec![3.0, 8.0],
                Source::Input(name) => drawn::between(name, shape.iter().product(), [-2.0, 2.0]),
                Source::Stored { home, name } => {
                    let mut known = parameters.iter().filter(|known| known.home == *home && known.name == *name);
                    self.weights.numbers(known.next().expect("declared")).expect("read")
                }
                Source::Node(..) => unreachable!("computed"),
            };
            let data = numbers.into_iter().map(|number| T::of(f64::from(number))).collect();
            Ok::<_, Infallible>(Array { shape, data })
        };
        interpret(graph, leaf).unwrap_or_else(|never| match never {})
    }
}

/// That numbers are those that the script sampled, as a share of the tensor's largest.
fn compare(name: &str, parameter: &Parameter, found: &Array<f64>, told: &Sampled<'_>, allowed: f64) {
    let ours: Vec<f32> = (0..found.data.len()).map(|at| at as f32).collect();
    // Where each number stands there: whole numbers below 2^24 go through f32 unharmed.
    assert!(ours.len() < 1 << 24);
    let there = Counterpart::of(parameter).to_theirs(&ours);
    for &(at, wanted) in &told.places {
        let number = found.data[there[at] as usize];
        let error = (number - wanted).abs() / told.largest;
        assert!(error < allowed, "{name} [{at}] is {number:e}, and {wanted:e} in PyTorch: {error:e} of the largest");
    }
    let largest = found.data.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
    assert!(
        (largest / told.largest - 1.0).abs() < allowed,
        "{name}: the largest is {largest:e}, there {:e}",
        told.largest
    );
}

/// Evaluation in f32: each image's logits within 1e-4 of the largest.
fn logits_agree(name: &str) -> Outcome {
    let subject = Subject::of(name)?;
    let (graph, parameters, [logits, _]) = subject.graph(Mode::Evaluate)?;
    let found = subject.interpret::<f32>(&graph, &parameters);
    for (image, (found, told)) in
        found[logits.index()].data.chunks(10).zip(drawn::rows(&subject.told["logits"])).enumerate()
    {
        let largest = told.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        assert_eq!(found.len(), told.len());
        for (class, (&found, told)) in found.iter().zip(told).enumerate() {
            let error = (f64::from(found) - told).abs() / largest;
            assert!(error < 1e-4, "image {image}, class {class}: {found} here and {told} in PyTorch, {error:e}");
        }
    }
    Ok(())
}

/// A step of training in f64: the loss, every gradient, and every running average.
fn step_agrees(name: &str) -> Outcome {
    const ALLOWED: f64 = 1e-8;
    let subject = Subject::of(name)?;
    let (mut graph, parameters, [_, loss]) = subject.graph(Mode::Train)?;
    let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?;
    let stored = |graph: &Graph, parameter: &Parameter| {
        graph.values().find(|&value| match graph.source(value) {
            Source::Stored { home, name } => *home == parameter.home && *name == parameter.name,
            _ => false,
        })
    };
    let learned: Vec<&Parameter> = parameters.learned().collect();
    let wrt: Vec<Value> = learned.iter().filter_map(|parameter| stored(&graph, parameter)).collect();
    assert_eq!(wrt.len(), learned.len());
    let gradients = ops::gradients(&mut graph, &[(loss, one)], &wrt)?;
    let arrays = subject.interpret::<f64>(&graph, &parameters);
    let wanted = subject.told["loss"].as_f64().ok_or("no loss")?;
    let found = arrays[loss.index()].data[0];
    assert!((found / wanted - 1.0).abs() < ALLOWED, "a loss of {found}, and {wanted} in PyTorch");

    let told = sampled(&subject.told, "gradients");
    assert_eq!(told.len(), learned.len(), "PyTorch learns as many parameters");
    for (parameter, gradient) in learned.iter().zip(gradients) {
        let there = Counterpart::of(parameter).name;
        let told = told.iter().find(|told| told.name == there).ok_or(there.clone())?;
        assert_eq!(parameter.home, PARAMETERS);
        let gradient = &arrays[gradient.ok_or("no gradient")?.index()];
        compare(&format!("the gradient of {there}"), parameter, gradient, told, ALLOWED);
    }
    let told = sampled(&subject.told, "averages");
    let mut averages = 0;
    for parameter in parameters.iter().filter(|parameter| parameter.home == STATISTICS) {
        let value = stored(&graph, parameter).ok_or("not stored")?;
        let updated = graph.nodes().iter().find_map(|node| {
            let mut updates = node.op.updates().into_iter();
            updates.find(|&(input, _)| node.inputs[input] == value).map(|(_, output)| node.outputs[output])
        });
        let there = Counterpart::of(parameter).name;
        let told = told.iter().find(|told| told.name == there).ok_or(there.clone())?;
        compare(&there, parameter, &arrays[updated.ok_or("no update")?.index()], told, ALLOWED);
        averages += 1;
    }
    assert_eq!(averages, told.len());
    Ok(())
}

#[test]
fn logits_of_resnet18() -> Outcome {
    logits_agree("resnet18")
}

#[test]
fn logits_of_resnet50() -> Outcome {
    logits_agree("resnet50")
}

#[test]
fn a_step_of_resnet18() -> Outcome {
    step_agrees("resnet18")
}

#[test]
fn a_step_of_resnet50() -> Outcome {
    step_agrees("resnet50")
}
