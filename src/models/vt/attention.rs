//! How an attention is split and scaled, and its weights as a value, which `attend` itself never writes down.

use serde::{Deserialize, Serialize};

use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{reshape, scaled};
use crate::ops::{Attend, MatMul, Permute, Softmax};

/// Heads and scale of an attention, softmax over keys(scale q kᵀ) v. The softmax is always over the keys: pixels in a
/// tokenizer, tokens in a transformer and a projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Runs that channels are split into, each with weights of its own. The published equations have one, the early
    /// appendix 16.
    pub heads: usize,
    /// What scores are multiplied by.
    pub scale: Scale,
}

/// What scores are multiplied by before the softmax; C are the channels of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Nothing: equations 1 to 5.
    One,
    /// 1 / √(C / heads), as is usual, and in the early appendix for the dynamic tokenizer and the projector.
    Head,
    /// 1 / √C, whatever the heads.
    Channels,
    /// 1 / √L, L tokens: what the early appendix does in its transformer, where it takes the wrong axis of the scores.
    Tokens,
}

impl Attention {
    /// One head and no scale, as the equations have it.
    pub const PLAIN: Self = Self { heads: 1, scale: Scale::One };

    /// So many heads, each scaled by its channels.
    #[must_use]
    pub const fn scaled(heads: usize) -> Self {
        Self { heads, scale: Scale::Head }
    }

    /// The op, for queries and keys of so many channels.
    #[must_use]
    pub fn op(self, channels: usize, tokens: usize) -> Attend {
        let (heads, channels) = (self.heads.max(1) as f64, channels.max(1) as f64);
        let scale = match self.scale {
            Scale::One => 1.0,
            Scale::Head => (heads / channels).sqrt(),
            Scale::Channels => (1.0 / channels).sqrt(),
            Scale::Tokens => (1.0 / tokens.max(1) as f64).sqrt(),
        };
        Attend { heads: self.heads, scale }
    }

    /// The deviation of queries that gives scores a spread of 1 where keys have it: smaller ones would make all tokens the
    /// mean, larger ones single pixels.
    #[must_use]
    pub fn spread(self, channels: usize, tokens: usize) -> f64 {
        match self.scale {
            Scale::Head => 1.0,
            _ => Self { scale: Scale::Head, ..self }.op(channels, tokens).scale / self.op(channels, tokens).scale,
        }
    }
}

/// Who asks whom, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// `[N, Q, C]`.
    pub query: Value,
    /// `[N, K, C]`.
    pub key: Value,
    /// Heads and scale.
    pub attend: Attend,
}

impl Asked {
    /// softmax over keys(q kᵀ scale) v: values `[N, K, D]` → `[N, Q, D]`.
    pub(super) fn of(self, b: &mut Builder<'_>, values: Value) -> Result<Value, GraphError> {
        let inputs = [self.query, self.key, values];
        // What is asked and given alike is read once.
        let inputs = if values == self.key { &inputs[..2] } else { &inputs };
        Ok(b.graph.apply(self.attend, inputs)?[0])
    }

    /// The weights of that, written down: A = softmax over keys(q kᵀ scale), `[N, heads, Q, K]`.
    pub(in crate::models) fn weights(self, b: &mut Builder<'_>) -> Result<Value, GraphError> {
        let Attend { heads, scale } = self.attend;
        b.scoped("attention", |b| {
            let query = if scale == 1.0 { self.query } else { scaled(b, self.query, scale)? };
            let [query, key] = [split(b, query, heads)?, split(b, self.key, heads)?];
            let scores = b.graph.apply_one(MatMul { transpose_a: false, transpose_b: true }, &[query, key])?;
            b.graph.apply_one(Softmax, &[scores])
        })
    }
}

/// What written weights `[N, heads, Q, K]` make of values `[N, K, D]`: `[N, Q, D]`.
pub(super) fn weighted(b: &mut Builder<'_>, weights: Value, values: Value) -> Result<Value, GraphError> {
    let [n, heads, queries, _] = b.graph.tensor(weights).shape.dims();
    let width = b.shape(values)[2];
    let values = split(b, values, heads)?;
    let sums = b.graph.apply_one(MatMul::new(), &[weights, values])?;
    let sums = b.graph.apply_one(Permute { axes: vec![0, 2, 1, 3] }, &[sums])?;
    reshape(b, sums, [n, queries, width])
}

/// x `[N, R, C]` → `[N, heads, R, C / heads]`.
fn split(b: &mut Builder<'_>, x: Value, heads: usize) -> Result<Value, GraphError> {
    let [n, rows, channels] = b.graph.tensor(x).shape.dims();
    let x = reshape(b, x, [n, rows, heads, channels / heads.max(1)])?;
    b.graph.apply_one(Permute { axes: vec![0, 2, 1, 3] }, &[x])
}
