//! What a model costs without running it: the layers of the graph that would run, their multiply-adds, parameters and
//! memory.

use std::collections::HashSet;

use super::BenchError;
use crate::graph::{Graph, Source, Tensor, Value};
use crate::kernel::{Capabilities, Elem};
use crate::models::parameters::PARAMETERS;
use crate::models::{Model, Parameters};
use crate::ops::Sgd;
use crate::plan::{Layout, Options, Plan};
use crate::train::step::{evaluation, evaluation_in, training_step};

/// A node of the graph that evaluates one image, as the model builds it. What only looks at another value in another shape
/// is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Where it stands in the model: `stage2/block1/conv1`.
    pub name: String,
    /// The op.
    pub op: &'static str,
    /// What it reads first; nothing where it reads nothing.
    pub input: Option<Tensor>,
    /// What it makes, for those who read it.
    pub output: Tensor,
    /// Trainable numbers that it reads and no layer before.
    pub parameters: usize,
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// Bytes of its outputs.
    pub activation_bytes: usize,
}

/// Layers that stand under one name: `backbone`, `pyramid` and `head`, or stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The first name of its layers' places.
    pub name: String,
    /// Trainable numbers.
    pub parameters: usize,
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// Bytes of the outputs of its layers.
    pub activation_bytes: usize,
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Its layers, in the order in which they run.
    pub layers: Vec<Layer>,
    /// All trainable numbers.
    pub parameters: usize,
    /// Those that belong to no normalization.
    pub parameters_without_norms: usize,
    /// Bytes of all buffers of an inference.
    pub inference_bytes: usize,
    /// Bytes of all buffers of a step of training.
    pub training_bytes: usize,
}

impl Count {
    /// Counts one image of this height, width and channels in f32, and plans inference and training of `batch` of them.
    ///
    /// # Errors
    /// When the images do not fit the model, or no buffer would hold a value.
    pub fn of(model: &dyn Model, [height, width, channels]: [usize; 3], batch: usize) -> Result<Self, BenchError> {
        let mut parameters = Parameters::new();
        let graph = evaluation_in(Elem::F32, model, &mut parameters, [1, height, width, channels])?;
        let images = [batch, height, width, channels];
        let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
        Ok(Self {
            layers: layers(&graph)?,
            parameters: parameters.count(true),
            parameters_without_norms: parameters.count(false),
            inference_bytes: planned(&evaluation(model, &mut Parameters::new(), images)?)?.peak_bytes(),
            training_bytes: planned(&training_step(model, images, sgd)?.graph)?.peak_bytes(),
        })
    }

    /// Its parts, in the order in which they begin.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for layer in &self.layers {
            let name = layer.name.split('/').next().unwrap_or_default();
            let at = parts.iter().position(|part| part.name == name).unwrap_or(parts.len());
            if at == parts.len() {
                parts.push(Part { name: name.to_owned(), parameters: 0, multiply_adds: 0, activation_bytes: 0 });
            }
            parts[at].parameters += layer.parameters;
            parts[at].multiply_adds += layer.multiply_adds;
            parts[at].activation_bytes += layer.activation_bytes;
        }
        parts
    }

    /// Multiply-adds of all layers.
    #[must_use]
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.multiply_adds).sum()
    }

    /// Bytes of the outputs of all layers: what an inference would hold that threw nothing away.
    #[must_use]
    pub fn activation_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.activation_bytes).sum()
    }
}

/// The nodes that run.
fn layers(graph: &Graph) -> Result<Vec<Layer>, BenchError> {
    let mut known = HashSet::new();
    let mut learned = |value: &Value| match graph.source(*value) {
        Source::Stored { home, .. } if *home == PARAMETERS && known.insert(*value) => {
            graph.tensor(*value).shape.count()
        }
        _ => 0,
    };
    let plan = planned(graph)?;
    let nodes = plan.nodes().iter().filter(|planned| !graph.nodes()[planned.node].op.is_view());
    let layer = |planned: &crate::plan::PlannedNode| {
        let tensor = |value: &Value| graph.tensor(*value).clone();
        Some(Layer {
            name: planned.scope.clone(),
            op: planned.op,
            input: planned.inputs.first().map(tensor),
            output: planned.outputs.first().map(tensor)?,
            parameters: planned.inputs.iter().map(&mut learned).sum(),
            multiply_adds: graph.cost(planned.node).multiply_adds,
            activation_bytes: planned.outputs.iter().map(|value| tensor(value).bytes()).sum(),
        })
    };
    Ok(nodes.filter_map(layer).collect())
}

/// For the least machine, but with room for the largest values: what is counted need not run here.
fn planned(graph: &Graph) -> Result<Plan, BenchError> {
    let least = Capabilities::portable();
    let machine = Capabilities { max_binding_bytes: 1 << 31, max_buffer_bytes: 1 << 40, ..least };
    let layout = Layout::of(&[graph], machine.offset_alignment)?;
    Ok(Plan::new(graph, &layout, &machine, Options::default())?)
}
