//! Tokens attend to each other: equations 3 and 4; and what the ablation puts in the place of that.

use serde::{Deserialize, Serialize};

use super::{Attention, Vt};
use crate::graph::{GraphError, Value};
use crate::models::layers::{Pointwise, relu};
use crate::models::{Builder, Init};
use crate::ops::{Add, MatMul, Repeat};

/// What tokens of one image learn from each other (table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interaction {
    /// They attend to each other: the transformer.
    Attention(Transformer),
    /// T_out = T + (G T) W: the same L x L mixing G, learned, for every image, and one dense map.
    GraphConv,
    /// Nothing: T_out = T + T W, one dense map of each token by itself.
    None,
}

/// How tokens attend to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transformer {
    /// Channels of keys and queries; C_T / 2 in the early version.
    pub key_channels: usize,
    /// Tokens become keys (K), and with other weights queries (Q).
    pub key_query: Pointwise,
    /// Tokens become values, C_T → C_T (V of the early version); the equations of 2021 have none.
    pub value: Pointwise,
    /// Heads and scale.
    pub attention: Attention,
    /// What follows.
    pub feed: Feed,
}

/// What follows the attention `a` = softmax over tokens((T K)(T Q)ᵀ) value(T).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feed {
    /// T' = T + a, T_out = T' + relu(T' F1) F2 (equations 3 and 4).
    Forward,
    /// T_out = T + a F, one residual and no function between ("learned scaling", the early version).
    Scaling,
}

/// Tokens `[N, L, C_T]` → the same.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn transform(b: &mut Builder<'_>, vt: &Vt, tokens: Value) -> Result<Value, GraphError> {
    match vt.interaction {
        Interaction::Attention(transformer) => b.scoped("transformer", |b| attend(b, vt, transformer, tokens)),
        Interaction::GraphConv => b.scoped("graph_conv", |b| {
            let mixed = mix(b, tokens)?;
            alone(b, vt, tokens, mixed)
        }),
        Interaction::None => b.scoped("alone", |b| alone(b, vt, tokens, tokens)),
    }
}

fn attend(b: &mut Builder<'_>, vt: &Vt, transformer: Transformer, tokens: Value) -> Result<Value, GraphError> {
    let [_, count, channels] = b.graph.tensor(tokens).shape.dims();
    let Transformer { key_channels, key_query, value, attention, feed } = transformer;
    let query = key_query.apply(b, "query", tokens, key_channels)?;
    let key = key_query.apply(b, "key", tokens, key_channels)?;
    let value = value.apply(b, "value", tokens, channels)?;
    let attended = b.graph.apply(attention.op(key_channels, count), &[query, key, value])?[0];
    if feed == Feed::Scaling {
        let scaling = Pointwise::Dense.apply(b, "scaling", attended, channels)?;
        return plus(b, vt, tokens, ("norm_scaling", scaling));
    }
    let tokens = plus(b, vt, tokens, ("norm_attention", attended))?;
    let hidden = Pointwise::Dense.apply(b, "feed1", tokens, channels)?;
    let hidden = vt.norm.apply(b, "norm_feed1", hidden)?;
    let hidden = relu(b, hidden)?;
    let fed = Pointwise::Dense.apply(b, "feed2", hidden, channels)?;
    plus(b, vt, tokens, ("norm_feed2", fed))
}

/// G T, G learned.
fn mix(b: &mut Builder<'_>, tokens: Value) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(tokens).clone();
    let [n, count, _] = tensor.shape.dims();
    let init = Init::Xavier { fan_in: count, fan_out: count };
    let graph = b.parameters.weight(b.graph, "mixing", tensor.shaped([1, count, count]), init)?;
    let graph = b.graph.apply_one(Repeat { times: n }, &[graph])?;
    b.graph.apply_one(MatMul::new(), &[graph, tokens])
}

/// T + x W.
fn alone(b: &mut Builder<'_>, vt: &Vt, tokens: Value, x: Value) -> Result<Value, GraphError> {
    let channels = b.shape(tokens)[2];
    let mapped = Pointwise::Dense.apply(b, "map", x, channels)?;
    plus(b, vt, tokens, ("norm", mapped))
}

/// x + change, the change normalized first where the block has norms.
fn plus(b: &mut Builder<'_>, vt: &Vt, x: Value, (name, change): (&str, Value)) -> Result<Value, GraphError> {
    let change = vt.norm.apply(b, name, change)?;
    let change = b.branch(change)?;
    b.graph.apply_one(Add, &[x, change])
}
