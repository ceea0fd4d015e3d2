//! Squeeze and excitation (Hu et al. 2018): every channel of an image by a gate that knows the means of all.

use serde::{Deserialize, Serialize};

use super::Nonlinearity;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{conv_bias, refusal, relu, reshape};
use crate::ops::{Gate, MeanRows};

/// x f(W2 relu(W1 mean(x) + b1) + b2). Both maps have a bias, as in timm and in the table of Woo et al. 2018, whose
/// 49.33 M parameters of ResNet-101 are counted so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqueezeExcitation {
    /// How many times fewer channels stand between the two maps.
    pub ratio: usize,
    /// f.
    pub gate: Nonlinearity,
}

impl Default for SqueezeExcitation {
    fn default() -> Self {
        Self { ratio: 16, gate: Nonlinearity::Sigmoid }
    }
}

impl SqueezeExcitation {
    /// x [N, R, C] → x, gated.
    pub(super) fn refine(self, b: &mut Builder<'_>, x: Value) -> Result<Value, GraphError> {
        let [n, _, channels] = b.graph.tensor(x).shape.dims();
        let mean = b.graph.apply_one(MeanRows, &[x])?;
        let image = reshape(b, mean, [n, 1, 1, channels])?;
        let told = excite(b, image, self.ratio)?;
        let gate = reshape(b, told, [n, 1, channels])?;
        b.graph.apply_one(Gate::new(self.gate.map()), &[x, gate])
    }
}

/// Two maps with a ReLU between, through `ratio` times fewer channels: x [N, H, W, C] → [N, H, W, C].
pub(super) fn excite(b: &mut Builder<'_>, x: Value, ratio: usize) -> Result<Value, GraphError> {
    let channels = b.shape(x)[3];
    let Some(between) = channels.checked_div(ratio).filter(|&between| between > 0) else {
        return Err(refusal(
            "reduce",
            format!("{channels} channels cannot be {ratio} times fewer: take a smaller ratio"),
        ));
    };
    let hidden = conv_bias(b, "reduce", x, [1, between])?;
    let hidden = relu(b, hidden)?;
    conv_bias(b, "expand", hidden, [1, channels])
}
