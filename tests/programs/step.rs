//! One whole step of training a small network: forward, loss, gradients, updates.

use vistok::graph::{Graph, GraphError, Tensor, Value};
use vistok::kernel::Elem;
use vistok::ops::{BatchNormTrain, Conv2d, CrossEntropy, Fill, Map, MatMul, MeanRows, Reshape, Sgd, gradients};

const BATCH: usize = 6;
const CHANNELS: usize = 8;
const CLASSES: usize = 3;

/// Images [6, 9, 7, 3] → convolution, batch norm, ReLU, twice; mean over pixels, classifier, cross entropy, SGD.
pub(crate) fn training_step() -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let mut learned = Vec::new();
    let mut h = graph.input("image", Tensor::f32([BATCH, 9, 7, 3]));
    let labels = graph.input("label", Tensor::new([BATCH], Elem::U32));
    let rate = graph.input("rate", Tensor::f32([1]));
    for (block, (channels, stride)) in [(3, 1), (CHANNELS, 2)].into_iter().enumerate() {
        h = graph.scoped(format!("block{block}"), |graph| layer(graph, &mut learned, h, (channels, stride)))?;
    }
    let pixels = graph.tensor(h).shape[1] * graph.tensor(h).shape[2];
    let rows = graph.apply_one(Reshape { shape: [BATCH, pixels, CHANNELS].into() }, &[h])?;
    let pooled = graph.apply_one(MeanRows, &[rows])?;
    let weight = graph.stored("parameters", "classifier/weight", Tensor::f32([CHANNELS, CLASSES]))?;
    learned.push(weight);
    let logits = graph.apply_one(MatMul { transpose_a: false, transpose_b: false }, &[pooled, weight])?;
    let loss = graph.apply(CrossEntropy::default(), &[logits, labels])?[0];
    let one = graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?;
    let grads = gradients(&mut graph, &[(loss, one)], &learned)?;
    for (number, (weight, grad)) in learned.into_iter().zip(grads).enumerate() {
        let Some(grad) = grad else { continue };
        let velocity = graph.stored("momentum", &number.to_string(), graph.tensor(weight).clone())?;
        let sgd = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
        graph.scoped(format!("update{number}"), |graph| graph.apply(sgd, &[weight, grad, velocity, rate]))?;
    }
    graph.output("loss", loss);
    graph.output("logits", logits);
    Ok(graph)
}

fn layer(
    graph: &mut Graph,
    learned: &mut Vec<Value>,
    x: Value,
    (channels, stride): (usize, usize),
) -> Result<Value, GraphError> {
    let weight = graph.scoped_name("weight");
    let weight = graph.stored("parameters", &weight, Tensor::f32([3, 3, channels, CHANNELS]))?;
    let mut vector = |home, name: &str| {
        let name = graph.scoped_name(name);
        graph.stored(home, &name, Tensor::f32([CHANNELS]))
    };
    let (gain, bias) = (vector("parameters", "gain")?, vector("parameters", "bias")?);
    let (mean, variance) = (vector("statistics", "mean")?, vector("statistics", "variance")?);
    learned.extend([weight, gain, bias]);
    let conv = Conv2d { stride: [stride; 2], padding: [1, 1], groups: 1 };
    let h = graph.apply_one(conv, &[x, weight])?;
    let norm = BatchNormTrain { eps: 1e-5, momentum: 0.1, relu: false };
    let h = graph.apply(norm, &[h, gain, bias, mean, variance])?[0];
    graph.apply_one(Map::Relu, &[h])
}
