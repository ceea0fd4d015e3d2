//! What leads from stages to levels: 1x1 laterals, the sum from the smallest map up, 3x3 outputs.

use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::conv_bias;
use crate::ops::{Add, Resize, ResizeMode};

/// Each map `[N, H, W, C]` by its own 1x1 convolution: `[N, H, W, channels]`.
pub(super) fn laterals(b: &mut Builder<'_>, maps: &[Value], channels: usize) -> Result<Vec<Value>, GraphError> {
    each(b, maps, ("lateral", [1, channels]))
}

/// Each level by its own 3x3 convolution.
pub(super) fn outputs(b: &mut Builder<'_>, levels: &[Value], channels: usize) -> Result<Vec<Value>, GraphError> {
    each(b, levels, ("output", [3, channels]))
}

/// Stages are counted from 2, as in the trunk.
fn each(b: &mut Builder<'_>, maps: &[Value], (name, sizes): (&str, [usize; 2])) -> Result<Vec<Value>, GraphError> {
    (2..).zip(maps).map(|(at, &map)| conv_bias(b, &format!("{name}{at}"), map, sizes)).collect()
}

/// To each level, the largest first, the sum of all smaller ones is added, by the nearest pixel.
pub(super) fn top_down(b: &mut Builder<'_>, mut levels: Vec<Value>) -> Result<Vec<Value>, GraphError> {
    for at in (1..levels.len()).rev() {
        let grown = resized(b, levels[at], size(b, levels[at - 1]), ResizeMode::Nearest)?;
        levels[at - 1] = b.graph.apply_one(Add, &[levels[at - 1], grown])?;
    }
    Ok(levels)
}

/// A map in another size.
pub(super) fn resized(
    b: &mut Builder<'_>,
    map: Value,
    size: [usize; 2],
    mode: ResizeMode,
) -> Result<Value, GraphError> {
    b.graph.apply_one(Resize { size, mode }, &[map])
}

/// Height and width of a map.
pub(super) fn size(b: &Builder<'_>, map: Value) -> [usize; 2] {
    let [_, height, width, _] = b.graph.tensor(map).shape.dims();
    [height, width]
}
