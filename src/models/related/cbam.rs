//! CBAM (Woo et al. 2018): a gate for every channel of the means and maxima of all, then a gate for every pixel of its
//! surroundings' largest and mean.

use serde::{Deserialize, Serialize};

use super::Nonlinearity;
use super::squeeze::excite;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{conv, norm, reshape, scaled};
use crate::ops::{Gate, MaxMean, MeanRows, Over};

/// x' = x f(M(mean(x)) + M(max(x))) over pixels, M being two maps with a ReLU between; then
/// x' f(norm(conv(\[max(x'), mean(x')\]))) over channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cbam {
    /// How many times fewer channels stand between the two maps.
    pub ratio: usize,
    /// Height and width of the convolution.
    pub kernel: usize,
    /// f.
    pub gate: Nonlinearity,
}

impl Default for Cbam {
    fn default() -> Self {
        Self { ratio: 16, kernel: 7, gate: Nonlinearity::Sigmoid }
    }
}

impl Cbam {
    /// x [N, H W, C] → x, gated twice.
    pub(super) fn refine(self, b: &mut Builder<'_>, x: Value, size: [usize; 2]) -> Result<Value, GraphError> {
        let x = b.scoped("channel", |b| self.by_channel(b, x))?;
        b.scoped("spatial", |b| self.by_pixel(b, x, size))
    }

    fn by_channel(self, b: &mut Builder<'_>, x: Value) -> Result<Value, GraphError> {
        let [n, _, channels] = b.graph.tensor(x).shape.dims();
        let described = b.graph.apply(MaxMean(Over::Rows), &[x])?[0];
        // Both go through the same maps, as an image of two pixels.
        let image = reshape(b, described, [n, 1, 2, channels])?;
        let told = excite(b, image, self.ratio)?;
        let told = reshape(b, told, [n, 2, channels])?;
        let mean = b.graph.apply_one(MeanRows, &[told])?;
        let sum = scaled(b, mean, 2.0)?;
        let gate = reshape(b, sum, [n, 1, channels])?;
        b.graph.apply_one(Gate::new(self.gate.map()), &[x, gate])
    }

    fn by_pixel(self, b: &mut Builder<'_>, x: Value, [height, width]: [usize; 2]) -> Result<Value, GraphError> {
        let n = b.shape(x)[0];
        let described = b.graph.apply(MaxMean(Over::Channels), &[x])?[0];
        let image = reshape(b, described, [n, height, width, 2])?;
        let told = conv(b, "conv", image, [self.kernel, 1, 1])?;
        let told = norm(b, "norm", told)?;
        let gate = reshape(b, told, [n, height * width, 1])?;
        b.graph.apply_one(Gate::new(self.gate.map()), &[x, gate])
    }
}
