//! From levels to logits: the semantic head of Panoptic FPN.

use serde::{Deserialize, Serialize};

use super::laterals::{resized, size};
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{conv, conv_bias, group_norm, relu};
use crate::ops::{Add, ResizeMode};

/// 3x3 convolutions with group norm and ReLU, at least one a level and one for each doubling of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Channels of its convolutions.
    pub channels: usize,
    /// Groups of its norms.
    pub groups: usize,
}

impl Head {
    /// Levels `[N, H, W, C]`, the largest first → logits `[N, height, width, classes]`.
    pub(super) fn build(
        &self,
        b: &mut Builder<'_>,
        levels: &[Value],
        (image, classes): ([usize; 2], usize),
    ) -> Result<Value, GraphError> {
        let sizes: Vec<[usize; 2]> = levels.iter().map(|&level| size(b, level)).collect();
        let mut sum: Option<Value> = None;
        for (at, &level) in levels.iter().enumerate() {
            let grown = b.scoped(format!("level{}", at + 2), |b| self.grow(b, level, &sizes[..at]))?;
            sum = Some(match sum {
                None => grown,
                Some(sum) => b.graph.apply_one(Add, &[sum, grown])?,
            });
        }
        let sum = sum.ok_or_else(|| GraphError::Name("a head wants one level at least".to_owned()))?;
        let features = b.features(sum)?;
        let logits = conv_bias(b, "predictor", features, [1, classes])?;
        resized(b, logits, image, ResizeMode::Bilinear)
    }

    /// A level brought to the size of the largest; `sizes` are those of all larger ones, the largest first.
    fn grow(&self, b: &mut Builder<'_>, level: Value, sizes: &[[usize; 2]]) -> Result<Value, GraphError> {
        let mut x = level;
        for at in 0..sizes.len().max(1) {
            x = conv(b, &format!("conv{}", at + 1), x, [3, self.channels, 1])?;
            x = group_norm(b, &format!("norm{}", at + 1), x, self.groups)?;
            x = relu(b, x)?;
            if let Some(&size) = sizes.iter().rev().nth(at) {
                x = resized(b, x, size, ResizeMode::Bilinear)?;
            }
        }
        Ok(x)
    }
}
