//! A case file of a whole model: parameters, a batch, activations and gradients of the first step, losses of several.

use std::collections::HashSet;

use serde::Deserialize;

use super::{CaseFile, CaseFileError, Claimed, Given, Raw};
use crate::graph::{Graph, Source, Value};
use crate::kernel::Elem;
use crate::models::{Network, Regularization, SURVIVAL};
use crate::ops::Sgd;
use crate::reference::Array;
use crate::train::step::{MOMENTUM, StepOptions, TrainingStep, training_step_with};
use crate::verify::tolerance::Told;

/// Classes and steps that a file may ask for.
const MOST: usize = 1 << 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    /// A name, or an object of all options.
    model: serde_json::Value,
    classes: usize,
    rate: f64,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
}

/// The training step of the model, and what the file says of it.
pub(super) fn understand(attributes: &str, raw: &mut Raw) -> Result<CaseFile, CaseFileError> {
    let refuse = |problem: String| CaseFileError::Metadata { entry: "attributes", problem };
    let told: Attributes = serde_json::from_str(attributes).map_err(|problem| refuse(problem.to_string()))?;
    let network = match &told.model {
        serde_json::Value::String(name) => Network::named(name, told.classes),
        options => options.to_string().parse(),
    };
    let network = network.map_err(|problem| refuse(problem.to_string()))?;
    let model = network.model();
    if model.classes() != told.classes {
        return Err(refuse(format!("the model has {} classes, and `classes` is {}", model.classes(), told.classes)));
    }
    let images = raw.take("images")?;
    let (Some(sizes), true) = (images.tensor.shape.rank::<4>(), images.tensor.elem == Elem::F32) else {
        let problem = format!("is {} and must be f32 [N, H, W, C]", images.tensor);
        return Err(CaseFileError::Tensor { name: "images".to_owned(), problem });
    };
    let losses = raw.take("losses")?;
    let steps = losses.tensor.shape.count();
    if losses.tensor.shape.len() != 1 || losses.tensor.elem != Elem::F32 {
        let problem = format!("is {} and must be f32 [steps]", losses.tensor);
        return Err(CaseFileError::Tensor { name: "losses".to_owned(), problem });
    }
    if told.classes == 0 || told.classes > MOST || steps > MOST {
        return Err(refuse(format!("{} classes and {steps} steps; 1 to {MOST} may be", told.classes)));
    }
    let sgd = Sgd { momentum: told.momentum, weight_decay: told.weight_decay, nesterov: told.nesterov };
    // Which images skip which blocks is in the file, not how often.
    let depth = raw.tensors.contains_key(SURVIVAL).then_some(1.0);
    let regularization = Regularization { depth, dropout: None };
    let step = training_step_with(&StepOptions { regularization, ..StepOptions::default() }, model, sizes, sgd)?;
    let leaves = leaves(raw, &step.graph, images, told.rate)?;
    let (expected, loss) = expected(raw, &step)?;
    Ok(CaseFile {
        subject: format!("model {}", model.name()),
        graph: step.graph,
        leaves,
        expected,
        losses: Some((loss, losses)),
        tolerance: Told::EXACT,
        exact: false,
    })
}

/// The numbers of every value that the graph is given: velocities start at zero, the rest is in the file.
fn leaves(raw: &mut Raw, graph: &Graph, images: Given, rate: f64) -> Result<Vec<(Value, Given)>, CaseFileError> {
    let mut images = Some(images);
    let mut leaves = Vec::new();
    for value in graph.values() {
        let tensor = graph.tensor(value).clone();
        let constant = |number: f64| {
            let numbers = Array::from_fn(&tensor.shape, |_| number);
            Given { tensor: tensor.clone(), numbers }
        };
        let given = match graph.source(value) {
            Source::Node(..) => continue,
            Source::Input(name) if name == "rate" => constant(rate),
            Source::Input(name) => match images.take_if(|_| name == "images") {
                Some(images) => images,
                None => raw.take_as(name, &tensor)?,
            },
            Source::Stored { home, .. } if *home == MOMENTUM => constant(0.0),
            Source::Stored { home, name } => raw.take_as(&format!("{home}/{name}"), &tensor)?,
        };
        leaves.push((value, given));
    }
    Ok(leaves)
}

/// What the file says of the first step, and the loss.
fn expected(raw: &mut Raw, step: &TrainingStep) -> Result<(Vec<Claimed>, Value), CaseFileError> {
    let graph = &step.graph;
    let missing =
        |name: &str, problem: &str| CaseFileError::Tensor { name: name.to_owned(), problem: problem.to_owned() };
    let loss = graph.find_output("loss").ok_or_else(|| missing("losses", "the model has no loss"))?;
    let mut expected = Vec::new();
    for scope in raw.names("activation.") {
        let name = format!("activation.{scope}");
        let value = activation(graph, loss, &scope)
            .ok_or_else(|| missing(&name, "names no part of the model; parts are called as their parameters"))?;
        let given = raw.take_as(&name, graph.tensor(value))?;
        expected.push(Claimed { name, value, given });
    }
    for parameter in raw.names("gradient.") {
        let name = format!("gradient.{parameter}");
        let found = step.gradients.iter().find(|(known, _)| *known == parameter);
        let value = found.ok_or_else(|| missing(&name, "names no parameter of the model"))?.1;
        let given = raw.take_as(&name, graph.tensor(value))?;
        expected.push(Claimed { name, value, given });
    }
    Ok((expected, loss))
}

/// What a part of the model makes: the first output of its last node on the way to the loss.
fn activation(graph: &Graph, loss: Value, scope: &str) -> Option<Value> {
    let mut wanted = HashSet::from([loss]);
    let mut last = None;
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|output| wanted.contains(output)) {
            wanted.extend(&node.inputs);
            let inside = node.scope.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if inside && last.is_none() {
                last = node.outputs.first().copied();
            }
        }
    }
    last
}
