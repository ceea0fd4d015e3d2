//! A whole training step as one graph: forward, loss, gradients, update; and the graph that evaluates.

use crate::graph::{Draw, Graph, GraphError, Source, Tensor, Value, numbers};
use crate::kernel::Elem;
use crate::models::parameters::PARAMETERS;
use crate::models::{Mode, Model, Parameters};
use crate::ops::{self, CrossEntropy, Fill, Sgd};
use crate::reference::{Array, Random};

/// The home of the optimizer's velocities.
pub const MOMENTUM: &str = "momentum";

/// A training step. Inputs `images` `[N, H, W, C]`, `labels` u32 `[N]` and `rate` `[1]`; output `loss` `[1]`.
#[derive(Clone, Debug)]
pub struct TrainingStep {
    /// The graph.
    pub graph: Graph,
    /// The model's parameters.
    pub parameters: Parameters,
    /// Every learned parameter's name and gradient; mark one as an output to read it after a run.
    pub gradients: Vec<(String, Value)>,
    /// How many classes labels tell apart.
    pub classes: usize,
}

impl TrainingStep {
    /// Marks every gradient as an output, called `gradient` and the parameter's name.
    pub fn output_gradients(&mut self) {
        for (name, gradient) in &self.gradients {
            self.graph.output(format!("gradient {name}"), *gradient);
        }
    }

    /// Numbers to try the step on, the same for the same seed: random images and labels, parameters as a model in the
    /// middle of training has them, which has no bias of 0 and no gain of 1, and velocities.
    #[must_use]
    pub fn sample(&self, value: Value, source: &Source, seed: u64) -> Array<f64> {
        let shape = &self.graph.tensor(value).shape;
        let (Source::Input(name) | Source::Stored { name, .. }) = source else { return Array::zeros(shape) };
        let mut random = Random::named(seed, &format!("{source:?}"));
        let mut drawn = |draw| numbers(shape, draw, &mut random);
        match source {
            Source::Input(name) if name == "labels" => drawn(Draw::Labels(self.classes)),
            Source::Input(name) if name == "rate" => drawn(Draw::Between(0.01, 0.1)),
            Source::Stored { home, .. } if *home == MOMENTUM => drawn(Draw::Between(-0.1, 0.1)),
            Source::Stored { home, .. } => {
                let known = self.parameters.iter().find(|known| (known.home, &known.name) == (*home, name));
                let Some(known) = known else { return drawn(Draw::Normal) };
                let initial = known.initial(seed).into_iter().map(f64::from).collect();
                let spread = if known.decays { 0.0 } else { 0.2 };
                let initial = Array { shape: shape.to_vec(), data: initial };
                initial.zip(&drawn(Draw::Between(-spread, spread)), |initial, moved| initial + moved)
            }
            _ => drawn(Draw::Normal),
        }
    }
}

/// The step of a model on images of this shape `[N, H, W, C]`. Weights decay as `sgd` says; gains and biases do not.
///
/// # Errors
/// When the images do not fit the model, or the loss does not depend on a parameter.
pub fn training_step(model: &dyn Model, images: [usize; 4], sgd: Sgd) -> Result<TrainingStep, GraphError> {
    training_step_in(Elem::F32, model, images, sgd)
}

/// [`training_step`] on images and weights of this element type. Losses are not scaled: of small gradients f16 keeps
/// little.
///
/// # Errors
/// As [`training_step`].
pub fn training_step_in(
    elem: Elem,
    model: &dyn Model,
    images: [usize; 4],
    sgd: Sgd,
) -> Result<TrainingStep, GraphError> {
    let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
    let labels = Tensor::new([images[0]], Elem::U32);
    let images = graph.input("images", Tensor::new(images, elem));
    let labels = graph.input("labels", labels);
    graph.input("rate", Tensor::f32([1]));
    let logits = model.logits(&mut graph, &mut parameters, images, Mode::Train)?;
    let loss = graph.apply(CrossEntropy, &[logits, labels])?[0];
    graph.output("loss", loss);
    let mut graph = graph.fused()?.graph;
    let named = |found: Option<Value>, name: &str| found.ok_or_else(|| GraphError::Name(format!("no `{name}`")));
    let (loss, rate) = (named(graph.find_output("loss"), "loss")?, named(graph.find_input("rate"), "rate")?);
    let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?;
    let learned: Vec<Value> = graph
        .values()
        .filter(|&value| matches!(graph.source(value), Source::Stored { home, .. } if *home == PARAMETERS))
        .collect();
    let found = ops::gradients(&mut graph, &[(loss, one)], &learned)?;
    let mut gradients = Vec::with_capacity(learned.len());
    for (weight, gradient) in learned.into_iter().zip(found) {
        let Source::Stored { name, .. } = graph.source(weight).clone() else { continue };
        let Some(gradient) = gradient else {
            return Err(GraphError::Name(format!("the loss does not depend on parameter `{name}`")));
        };
        let decays = parameters.learned().any(|parameter| parameter.name == name && parameter.decays);
        let rule = Sgd { weight_decay: if decays { sgd.weight_decay } else { 0.0 }, ..sgd };
        let velocity = Tensor::f32(graph.tensor(weight).shape.clone());
        let velocity = graph.stored(MOMENTUM, &name, velocity)?;
        graph.scoped(name.clone(), |graph| graph.apply(rule, &[weight, gradient, velocity, rate]))?;
        gradients.push((name, gradient));
    }
    Ok(TrainingStep { graph, parameters, gradients, classes: model.classes() })
}

/// The graph that evaluates a model: input `images` of this shape `[N, H, W, C]`, output `logits` `[N, classes]`. Fused.
///
/// # Errors
/// When the images do not fit the model, or `parameters` were made by another model.
pub fn evaluation(model: &dyn Model, parameters: &mut Parameters, images: [usize; 4]) -> Result<Graph, GraphError> {
    Ok(evaluation_in(Elem::F32, model, parameters, images)?.fused()?.graph)
}

/// [`evaluation`] on images and weights of this element type, as the model builds it: nothing is fused.
///
/// # Errors
/// As [`evaluation`].
pub fn evaluation_in(
    elem: Elem,
    model: &dyn Model,
    parameters: &mut Parameters,
    images: [usize; 4],
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let images = graph.input("images", Tensor::new(images, elem));
    let logits = model.logits(&mut graph, parameters, images, Mode::Evaluate)?;
    graph.output("logits", logits);
    Ok(graph)
}
