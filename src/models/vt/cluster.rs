//! The centroids of a map's own pixels: appendix C.

use super::Map;
use super::tokenizer::resized;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::ops::{L2Normalize, ResizeMode, k_means};

/// What the length of a pixel is at least divided by, as in PyTorch.
const EPS: f64 = 1e-12;

/// The centroids of the pixels `[N, HW, C]` of a map, unit vectors `[N, count, C]`. All gradients flow but those of which
/// pixel belongs to which.
pub(super) fn centroids(b: &mut Builder<'_>, map: Map, (count, rounds): (usize, usize)) -> Result<Value, GraphError> {
    b.scoped("cluster", |b| {
        let first = resized(b, map, count, ResizeMode::Bilinear)?;
        let [pixels, first] = [map.pixels, first].map(|x| b.graph.apply_one(L2Normalize { eps: EPS }, &[x]));
        k_means(b.graph, pixels?, first?, rounds)
    })
}
