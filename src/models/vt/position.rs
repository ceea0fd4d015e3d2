//! Where each token gathered its pixels, as channels of the token: the early version's position code.

use serde::{Deserialize, Serialize};

use super::super::layers::{Pointwise, conv, reshape};
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::ops::{Permute, Resize, ResizeMode};

/// Whether tokens carry a code of where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// No: the equations of 2021.
    None,
    /// P = downsample(A)ᵀ W_{A→P} (early version): a token's map A, h heads of it, is resized to `size` x `size` by the
    /// nearest pixel, halved `halvings` times by 3x3 convolutions of stride 2 from h to h channels, brought to one channel
    /// by a 1x1 convolution, flattened to C_p numbers, and mapped C_p → C_p. The code stands behind the channels of the
    /// token before it is mapped to C_T.
    Downsampled {
        /// Height and width of the resized map; 14 in the early appendix.
        size: usize,
        /// Convolutions of stride 2; 1 there, so that C_p = 49.
        halvings: usize,
    },
}

/// The code of maps `weights` `[N, h, L, HW]` on an image of this size: `[N, L, C_p]`.
pub(super) fn code(
    b: &mut Builder<'_>,
    weights: Value,
    [height, width]: [usize; 2],
    (size, halvings): (usize, usize),
) -> Result<Value, GraphError> {
    let [n, heads, tokens, _] = b.graph.tensor(weights).shape.dims();
    b.scoped("position", |b| {
        let maps = b.graph.apply_one(Permute { axes: vec![0, 2, 3, 1] }, &[weights])?;
        let maps = reshape(b, maps, [n * tokens, height, width, heads])?;
        let mut maps = b.graph.apply_one(Resize { size: [size; 2], mode: ResizeMode::Nearest }, &[maps])?;
        for at in 1..=halvings {
            maps = conv(b, &format!("conv{at}"), maps, [3, heads, 2])?;
        }
        let one = conv(b, "one", maps, [1, 1, 1])?;
        let channels = b.graph.tensor(one).shape.count() / (n * tokens);
        let flat = reshape(b, one, [n, tokens, channels])?;
        Pointwise::Dense.apply(b, "code", flat, channels)
    })
}
