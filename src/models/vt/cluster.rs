//! The centroids of a map's own pixels: appendix C.

use super::Map;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::refusal;

/// The centroids of the pixels `[N, HW, C]` of a map, unit vectors `[N, count, C]`.
pub(super) fn centroids(
    _: &mut Builder<'_>,
    _: Map,
    (count, rounds): (usize, usize),
) -> Result<Value, GraphError> {
    let problem = format!("clustering into {count} tokens in {rounds} rounds needs the op `nearest_centroid`");
    Err(refusal("tokenizer", problem))
}
