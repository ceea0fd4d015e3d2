//! Where each token looks: the tokenizer's weights as a value, which `attend` itself never writes down.

use super::{Tokenized, Vt};
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::reshape;
use crate::ops::{Conv2d, Fill, MatMul, Permute, Softmax};

/// softmax over pixels(q kᵀ scale), by the same numbers as the tokenizer: `[N, heads, L, HW]`.
pub(super) fn attention(b: &mut Builder<'_>, vt: &Vt, tokenized: &Tokenized) -> Result<Value, GraphError> {
    b.scoped("attention", |b| {
        let tensor = b.graph.tensor(tokenized.query).clone();
        let [n, rows, channels] = tensor.shape.dims();
        let attend = vt.attend(channels);
        // A depthwise convolution with one number is how the ops that there are multiply by a constant.
        let query = reshape(b, tokenized.query, [n, rows, 1, channels])?;
        let fill = Fill { value: attend.scale, tensor: tensor.shaped([1, 1, 1, channels]) };
        let scale = b.graph.apply_one(fill, &[])?;
        let query = b.graph.apply_one(Conv2d::new(1, 0).groups(channels), &[query, scale])?;
        let query = split(b, query, [n, rows, channels], attend.heads)?;
        let keys = b.graph.tensor(tokenized.key).shape.dims();
        let key = split(b, tokenized.key, keys, attend.heads)?;
        let scores = b.graph.apply_one(MatMul { transpose_a: false, transpose_b: true }, &[query, key])?;
        b.graph.apply_one(Softmax, &[scores])
    })
}

/// x of these sizes `[N, R, C]` → `[N, heads, R, C / heads]`.
fn split(b: &mut Builder<'_>, x: Value, [n, rows, channels]: [usize; 3], heads: usize) -> Result<Value, GraphError> {
    let x = reshape(b, x, [n, rows, heads, channels / heads])?;
    b.graph.apply_one(Permute { axes: vec![0, 2, 1, 3] }, &[x])
}
