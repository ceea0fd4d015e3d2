//! Spatially adaptive convolution: a block whose kernel an attention from the network's raw input modulates at every pixel.
//!
//! Xu et al. 2020, SqueezeSegV3, as its code has it (`SAC.py`, `SACBlock`).

use serde::{Deserialize, Serialize};

use super::Nonlinearity;
use crate::graph::{GraphError, Value};
use crate::models::layers::{conv, norm, relu};
use crate::models::{Builder, Init};
use crate::ops::{Add, SpatiallyAdaptiveConv};

/// How attention is made of the raw input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// Rows and columns of the patch of the raw input that a pixel's attention sees: odd.
    pub attention_kernel: usize,
    /// What attention goes through.
    pub nonlinearity: Nonlinearity,
}

impl Default for Adaptive {
    /// The paper's.
    fn default() -> Self {
        Self { attention_kernel: 7, nonlinearity: Nonlinearity::Sigmoid }
    }
}

/// Rows and columns of the kernel that is modulated.
const KERNEL: usize = 3;

/// x `[N, H, W, C]`, raw `[N, H, W, R]`, what the network is given, brought to x's size → `[N, H, W, C]`: a spatially adaptive
/// convolution, norm, ReLU, a 3x3 convolution, norm, ReLU, + x. Attention has a bias where the published block has a batch norm.
///
/// # Errors
/// When x and raw are no images of one size, or the attention's kernel has no middle.
pub(super) fn adaptive_block(
    b: &mut Builder<'_>,
    x: Value,
    raw: Value,
    options: &Adaptive,
) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(x).clone();
    let channels = tensor.shape.last().copied().unwrap_or(0);
    let [attention_weight, attention_bias] = b.scoped("attention", |b| options.attention(b, raw, channels))?;
    let y = b.scoped("conv1", |b| {
        let init = Init::He { fan_out: KERNEL * KERNEL * channels };
        let shape = tensor.shaped([KERNEL, KERNEL, channels, channels]);
        let weight = b.parameters.weight(b.graph, "weight", shape, init)?;
        let op = SpatiallyAdaptiveConv {
            kernel: KERNEL,
            attention_kernel: options.attention_kernel,
            nonlinearity: options.nonlinearity.map(),
        };
        b.graph.apply_one(op, &[x, raw, attention_weight, attention_bias, weight])
    })?;
    let y = norm(b, "norm1", y)?;
    let y = relu(b, y)?;
    let y = conv(b, "conv2", y, [3, channels, 1])?;
    let y = norm(b, "norm2", y)?;
    let y = relu(b, y)?;
    let y = b.branch(y)?;
    b.graph.apply_one(Add, &[y, x])
}

impl Adaptive {
    /// What patches of raw are multiplied by, and what is added: a number for each tap and channel of x.
    fn attention(&self, b: &mut Builder<'_>, raw: Value, channels: usize) -> Result<[Value; 2], GraphError> {
        let (tensor, side, columns) = (b.graph.tensor(raw).clone(), self.attention_kernel, KERNEL * KERNEL * channels);
        let from = tensor.shape.last().copied().unwrap_or(0);
        let shape = tensor.shaped([side, side, from, columns]);
        // Scores as large as the raw input is.
        let init = Init::Normal((1.0 / (side * side * from).max(1) as f64).sqrt());
        let weight = b.parameters.weight(b.graph, "weight", shape, init)?;
        Ok([weight, b.parameters.bias(b.graph, "bias", columns)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Tensor};
    use crate::kernel::Elem;
    use crate::models::{Mode, Parameters};

    fn block(options: &Adaptive, mode: Mode, raw: [usize; 4]) -> Result<(Graph, Parameters, Value), GraphError> {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let x = graph.input("x", Tensor::new([2, 6, 5, 4], Elem::F16));
        let raw = graph.input("raw", Tensor::new(raw, Elem::F16));
        let mut b = Builder::new(&mut graph, &mut parameters, mode);
        let y = adaptive_block(&mut b, x, raw, options)?;
        Ok((graph, parameters, y))
    }

    #[test]
    fn both_modes_have_the_same_parameters() {
        let [train, evaluate] =
            [Mode::Train, Mode::Evaluate].map(|mode| block(&Adaptive::default(), mode, [2, 6, 5, 3]));
        let ((graph, parameters, y), (_, others, _)) = (train.expect("it fits"), evaluate.expect("it fits"));
        assert_eq!(parameters, others);
        assert_eq!(*graph.tensor(y), Tensor::new([2, 6, 5, 4], Elem::F16));
        // 7·7·3·36 and 36 of the attention, two kernels 3·3·4·4, and the gains and biases of 4 channels twice.
        assert_eq!(parameters.count(true), 5_292 + 36 + 288 + 16);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let error = block(&Adaptive::default(), Mode::Train, [2, 6, 4, 3]).expect_err("raw is narrower");
        assert!(error.to_string().contains("x must be"), "{error}");
        let even = Adaptive { attention_kernel: 6, ..Adaptive::default() };
        let error = block(&even, Mode::Train, [2, 6, 5, 3]).expect_err("six has no middle");
        assert!(error.to_string().contains("kernels must be odd"), "{error}");
    }
}
