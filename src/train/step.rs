//! A whole training step as one graph: forward, loss, gradients, update; and the graph that evaluates.
//!
//! # Mixed precision
//!
//! With [`Elem::F16`] a step is of mixed precision. What is held in which type:
//!
//! | | in |
//! |---|---|
//! | images, activations, their gradients; copies of weights, gradients of weights | f16 |
//! | weights, velocities, gains and biases, their gradients | f32 |
//! | statistics of batches and running averages, the loss, log-sums of softmax | f32 |
//! | every sum and every function inside a kernel | f32 |
//!
//! The loss is scaled, by how much is decided on the GPU ([`LossScale`]): a step whose gradients overflow changes no
//! weight, no state of the optimizer and no average of weights, and halves the scale. Running averages move all the same. Evaluation reads the f32 weights.

use super::Recompute;
use super::accumulate::MicroBatch;
use super::average;
use super::optimizer::{CORRECTION, Optimizer, SECOND_MOMENT, SQUARES};
use super::teacher::Distilled;
use crate::gpu::{Error, Homes};
use crate::graph::{Draw, Fused, Graph, GraphError, Source, Tensor, Value, numbers};
use crate::kernel::Elem;
use crate::models::parameters::{AVERAGES, COPIES, PARAMETERS, TEACHER};
use crate::models::{Builder, DROPOUT, Mode, Model, Parameters, Regularization, SURVIVAL, Target};
use crate::ops::{self, ConfusionMatrix, CrossEntropyWithGradient, Distillation, LossScale};
use crate::reference::{Array, Random};

/// The home of the optimizer's velocities.
pub const MOMENTUM: &str = "momentum";
/// The home of what the loss is scaled by: `scale`, `steps` since it last changed, steps `skipped` in all.
pub const LOSS_SCALE: &str = "loss_scale";
/// The scale at the start, as in PyTorch: the first steps may well be skipped.
const FIRST_SCALE: f32 = 65_536.0;

/// A training step. Inputs `images` `[N, H, W, C]`, `labels` u32 `[N]`, of pixels `[N, H, W]`, and `rate` `[1]`; output `loss` `[1]`,
/// not scaled. With stochastic depth also [`SURVIVAL`], with dropout [`DROPOUT`], with what a teacher has said [`TEACHER`] `[N, classes]`.
#[derive(Clone, Debug)]
pub struct TrainingStep {
    /// The graph.
    pub graph: Graph,
    /// The model's parameters.
    pub parameters: Parameters,
    /// Every learned parameter's name and gradient, scaled as the loss is; mark one as an output to read it after a run.
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
        let source = match source {
            // A copy of what the weight is.
            Source::Stored { home: COPIES, name } => &Source::Stored { home: PARAMETERS, name: name.clone() },
            source => source,
        };
        let (Source::Input(name) | Source::Stored { name, .. }) = source else { return Array::zeros(shape) };
        let mut random = Random::named(seed, &format!("{source:?}"));
        let mut drawn = |draw| numbers(shape, draw, &mut random);
        match source {
            Source::Input(name) if name == "labels" => drawn(Draw::Labels(self.classes)),
            Source::Input(name) if name == "rate" => drawn(Draw::Between(0.01, 0.1)),
            Source::Input(name) if name == DROPOUT => drawn(Draw::Labels(1 << 16)),
            // None like another: one that is read in another's place would show. Of images that are skipped, as kernels are proven
            // with, whole steps would have fewer numbers to learn from what an honest machine may err by.
            Source::Input(name) if name == SURVIVAL => drawn(Draw::Between(0.5, 2.0)),
            Source::Stored { home, .. } if *home == MOMENTUM => drawn(Draw::Between(-0.1, 0.1)),
            // Means of squares, and what they are divided by.
            Source::Stored { home, .. } if [SQUARES, SECOND_MOMENT, CORRECTION].contains(home) => {
                drawn(Draw::Between(0.1, 1.0))
            }
            // Gains, variances; and weights by which values keep their size.
            Source::Stored { home, .. } if *home == TEACHER && shape.len() == 1 => drawn(Draw::Between(0.5, 1.0)),
            Source::Stored { home, .. } if *home == TEACHER => {
                let terms = shape.count() / shape.last().copied().unwrap_or(1).max(1);
                drawn(Draw::Normal).map(|number| (number - 0.25) / (terms as f64).sqrt())
            }
            // So small that no gradient overflows, which is no error of a kernel.
            Source::Stored { home, .. } if *home == LOSS_SCALE => drawn(Draw::Between(1.0, 8.0)),
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

/// How a step is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOptions {
    /// What images, activations and gradients are held in; f16 for mixed precision.
    pub elem: Elem,
    /// The blocks that the backward pass makes again instead of keeping them.
    pub recompute: Recompute,
    /// How much of each label is given to all classes alike, from 0 to 1.
    pub smoothing: f64,
    /// How much of the moving averages of weights and running averages, in [`AVERAGES`], is kept from step to step; `None` takes none.
    pub ema: Option<f64>,
    /// What is left out at random.
    pub regularization: Regularization,
    /// What is learned of a teacher: of a network, whose weights are in the home [`TEACHER`], or of the input of that name.
    pub distillation: Option<Distilled>,
    /// Which part of a batch it is of.
    pub micro_batch: MicroBatch,
}

impl Default for StepOptions {
    fn default() -> Self {
        Self {
            elem: Elem::F32,
            recompute: Recompute::Nothing,
            smoothing: 0.0,
            ema: None,
            regularization: Regularization::default(),
            distillation: None,
            micro_batch: MicroBatch::Whole,
        }
    }
}

/// The step of a model on images of this shape `[N, H, W, C]`. Weights decay as the optimizer says; gains and biases
/// only where it says so. An [`Sgd`](crate::ops::Sgd) is an optimizer.
///
/// # Errors
/// When the images do not fit the model, or the loss does not depend on a parameter.
pub fn training_step(
    model: &dyn Model,
    images: [usize; 4],
    optimizer: impl Into<Optimizer>,
) -> Result<TrainingStep, GraphError> {
    training_step_with(&StepOptions::default(), model, images, optimizer)
}

/// [`training_step`] on images of this element type; of mixed precision where that is f16.
///
/// # Errors
/// As [`training_step`].
pub fn training_step_in(
    elem: Elem,
    model: &dyn Model,
    images: [usize; 4],
    optimizer: impl Into<Optimizer>,
) -> Result<TrainingStep, GraphError> {
    training_step_with(&StepOptions { elem, ..StepOptions::default() }, model, images, optimizer)
}

/// [`training_step`] with options.
///
/// # Errors
/// As [`training_step`]; and when a block that is to be made again is none of the model's.
pub fn training_step_with(
    options: &StepOptions,
    model: &dyn Model,
    images: [usize; 4],
    optimizer: impl Into<Optimizer>,
) -> Result<TrainingStep, GraphError> {
    let elem = options.elem;
    let (mut graph, mut parameters) = (Graph::new(), Parameters::copied());
    let labels = Tensor::new(model.target().labels(images), Elem::U32);
    let images = graph.input("images", Tensor::new(images, elem));
    let labels = graph.input("labels", labels);
    let rate = graph.input("rate", Tensor::f32([1]));
    let b = &mut Builder::new(&mut graph, &mut parameters, Mode::Train).regularized(options.regularization);
    let logits = model.build(b, images)?;
    check_regularized(options.regularization, &graph)?;
    let teacher = options.distillation.as_ref().map(|distilled| distilled.teacher.logits(&mut graph, model, images));
    let teacher = teacher.transpose()?;
    let wanted: Vec<Value> = [logits, labels, rate].into_iter().chain(teacher).collect();
    let fused = graph.fused_for(&wanted)?;
    let now =
        |fused: &Fused, old| fused.value(old).ok_or_else(|| GraphError::Name("a value was fused away".to_owned()));
    let (logits, labels, rate) = (now(&fused, logits)?, now(&fused, labels)?, now(&fused, rate)?);
    let teacher = teacher.map(|teacher| now(&fused, teacher)).transpose()?;
    let mut graph = fused.graph;
    let inputs: Vec<Value> = [logits, labels].into_iter().chain(teacher).collect();
    let both = lost(&mut graph, options, model.target().ignored(), inputs)?;
    graph.output("loss", both[0]);
    let learned = Learned::all(&mut graph, &parameters)?;
    let wrt: Vec<Value> = learned.iter().map(|weight| weight.copy.unwrap_or(weight.value)).collect();
    let scopes = options.recompute.scopes(model)?;
    let parts: Vec<Vec<usize>> = scopes.iter().map(|scope| graph.nodes_in(scope)).collect();
    let found = ops::gradients_again(&mut graph, &[(logits, both[1])], &wrt, &parts)?;
    let mut gradients = Vec::with_capacity(learned.len());
    for (weight, gradient) in learned.iter().zip(found) {
        let missing = || GraphError::Name(format!("the loss does not depend on parameter `{}`", weight.name));
        gradients.push((weight.name.clone(), gradient.ok_or_else(missing)?));
    }
    // Again, for what the gradients are made of. What was made a second time, and nothing reads, goes.
    let wanted: Vec<Value> = gradients.iter().map(|&(_, gradient)| gradient).chain([rate]).collect();
    let fused = graph.fused_for(&wanted)?;
    for (_, gradient) in &mut gradients {
        *gradient = now(&fused, *gradient)?;
    }
    let rate = now(&fused, rate)?;
    let mut graph = fused.graph;
    let classes = model.classes();
    if !options.micro_batch.gather(&mut graph, &mut gradients)? {
        return Ok(TrainingStep { graph, parameters, gradients, classes });
    }
    let learned = Learned::all(&mut graph, &parameters)?;
    let factor = if elem == Elem::F16 { Some(loss_scale(&mut graph, &gradients)?) } else { None };
    let factor = optimizer.into().update(&mut graph, &learned, &gradients, (rate, factor))?;
    if let Some(decay) = options.ema {
        let moved = average::moved(&mut graph, &parameters)?;
        average::update(&mut graph, decay, factor, &moved)?;
    }
    Ok(TrainingStep { graph, parameters, gradients, classes })
}

/// What a step loses and where that falls, by logits, labels and perhaps a teacher's logits: it wants both, and one pass over the logits
/// gives them. In f16 it is where the scaled loss falls.
fn lost(
    graph: &mut Graph,
    options: &StepOptions,
    ignore: Option<u32>,
    mut inputs: Vec<Value>,
) -> Result<Vec<Value>, GraphError> {
    if options.elem == Elem::F16 {
        inputs.push(graph.stored(LOSS_SCALE, "scale", Tensor::f32([1]))?);
    }
    let smoothing = options.smoothing;
    match &options.distillation {
        None => graph.apply(CrossEntropyWithGradient { ignore, smoothing }, &inputs),
        Some(Distilled { share, temperature, .. }) => {
            let (share, temperature) = (*share, *temperature);
            graph.apply(Distillation { share, temperature, ignore, smoothing }, &inputs)
        }
    }
}

/// That the network has something that may be left out, where something is to be.
fn check_regularized(regularization: Regularization, graph: &Graph) -> Result<(), GraphError> {
    let problem = match regularization {
        Regularization { depth: Some(last), .. } if !(last > 0.0 && last <= 1.0) => {
            format!("stochastic depth computes the last block for a share of images above 0 and at most 1, not {last}")
        }
        Regularization { depth: Some(_), .. } if graph.find_input(SURVIVAL).is_none() => {
            "the model has no residual blocks that stochastic depth might skip: leave depth out".to_owned()
        }
        Regularization { dropout: Some(_), .. } if graph.find_input(DROPOUT).is_none() => {
            "the model has no last layer that features might be dropped before: leave dropout out".to_owned()
        }
        _ => return Ok(()),
    };
    Err(GraphError::Name(problem))
}

/// A learned parameter in a graph.
pub(super) struct Learned {
    pub(super) name: String,
    pub(super) value: Value,
    /// What the network computes with, where that is not the parameter itself.
    pub(super) copy: Option<Value>,
    pub(super) decays: bool,
}

impl Learned {
    fn all(graph: &mut Graph, parameters: &Parameters) -> Result<Vec<Self>, GraphError> {
        let all = parameters.learned().map(|parameter| {
            let value = graph.stored(PARAMETERS, &parameter.name, parameter.tensor.clone())?;
            let copy = Source::Stored { home: COPIES, name: parameter.name.clone() };
            let copy = graph.values().find(|&value| *graph.source(value) == copy);
            Ok(Self { name: parameter.name.clone(), value, copy, decays: parameter.decays })
        });
        all.collect()
    }
}

/// What undoes the scale in these gradients, or is 0 where one has overflown.
fn loss_scale(graph: &mut Graph, gradients: &[(String, Value)]) -> Result<Value, GraphError> {
    let mut inputs = Vec::with_capacity(3 + gradients.len());
    for name in ["scale", "steps", "skipped"] {
        inputs.push(graph.stored(LOSS_SCALE, name, Tensor::f32([1]))?);
    }
    inputs.extend(gradients.iter().map(|&(_, gradient)| gradient));
    Ok(graph.apply(LossScale::default(), &inputs)?[0])
}

/// Writes what a run starts with: parameters, their copies and their averages as drawn from this seed, and the scale of the loss. What the
/// optimizer's state starts with, [`Optimizer::initialize`] writes.
///
/// # Errors
/// When the homes lack one, or the device is lost.
pub fn initialize(homes: &Homes, parameters: &Parameters, seed: u64) -> Result<(), Error> {
    let has = |home: &str, name: &str| homes.layout().find(home, name).is_some();
    for parameter in parameters.iter() {
        let numbers = parameter.initial(seed);
        homes.write_f32(parameter.home, &parameter.name, &numbers)?;
        for home in [COPIES, AVERAGES].into_iter().filter(|home| has(home, &parameter.name)) {
            homes.write_f32(home, &parameter.name, &numbers)?;
        }
    }
    match has(LOSS_SCALE, "scale") {
        true => homes.write_f32(LOSS_SCALE, "scale", &[FIRST_SCALE]),
        false => Ok(()),
    }
}

/// The graph that evaluates a model: input `images` of this shape `[N, H, W, C]`, output `logits` `[N, classes]`, of pixels
/// `[N, H, W, classes]`. Fused.
///
/// # Errors
/// When the images do not fit the model, or `parameters` were made by another model.
pub fn evaluation(model: &dyn Model, parameters: &mut Parameters, images: [usize; 4]) -> Result<Graph, GraphError> {
    Ok(evaluation_in(Elem::F32, model, parameters, images)?.fused()?.graph)
}

/// The home of what predictions are counted in: `confusion`, u32 `[classes, classes]`.
pub const SCORES: &str = "scores";

/// [`evaluation`] that also scores: of a model that segments it has an input `labels` u32 `[N, H, W]` and counts every prediction in
/// [`SCORES`]. Logits of pixels are large, and need not be read so. Of other models it is [`evaluation`] itself.
///
/// # Errors
/// As [`evaluation`].
pub fn scored_evaluation(
    model: &dyn Model,
    parameters: &mut Parameters,
    images: [usize; 4],
) -> Result<Graph, GraphError> {
    let mut graph = evaluation_in(Elem::F32, model, parameters, images)?;
    let target = model.target();
    if let (Target::Pixels, Some(logits)) = (target, graph.find_output("logits")) {
        let labels = graph.input("labels", Tensor::new(target.labels(images), Elem::U32));
        let counts = Tensor::new([model.classes(); 2], Elem::U32);
        let counts = graph.stored(SCORES, "confusion", counts)?;
        graph.apply(ConfusionMatrix { ignore: target.ignored() }, &[logits, labels, counts])?;
    }
    Ok(graph.fused()?.graph)
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
