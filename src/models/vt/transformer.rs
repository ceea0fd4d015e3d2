//! Tokens attend to each other: equations 3 and 4.

use super::Vt;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{Pointwise, norm, relu};
use crate::ops::Add;

/// How tokens attend to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transformer {
    /// Channels of keys and queries.
    pub key_channels: usize,
    /// Tokens become keys, and with other weights queries.
    pub key_query: Pointwise,
    /// Tokens become values, C_T → C_T; the equations have none.
    pub value: Pointwise,
}

/// T' = T + softmax over tokens((T Q)(T K)ᵀ) T; T_out = T' + relu(T' F1) F2: tokens `[N, L, C_T]` → the same.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn transform(b: &mut Builder<'_>, vt: &Vt, tokens: Value) -> Result<Value, GraphError> {
    let channels = vt.token_channels;
    let Transformer { key_channels, key_query, value } = vt.transformer;
    b.scoped("transformer", |b| {
        let query = key_query.apply(b, "query", tokens, key_channels)?;
        let key = key_query.apply(b, "key", tokens, key_channels)?;
        let value = value.apply(b, "value", tokens, channels)?;
        let attended = b.graph.apply(vt.attend(key_channels), &[query, key, value])?[0];
        let tokens = plus(b, vt, tokens, ("norm_attention", attended))?;
        let mut hidden = Pointwise::Dense.apply(b, "feed1", tokens, channels)?;
        if vt.norm {
            hidden = norm(b, "norm_feed1", hidden)?;
        }
        let hidden = relu(b, hidden)?;
        let fed = Pointwise::Dense.apply(b, "feed2", hidden, channels)?;
        plus(b, vt, tokens, ("norm_feed2", fed))
    })
}

/// x + change, the change normalized first where the block has norms.
fn plus(b: &mut Builder<'_>, vt: &Vt, x: Value, (name, change): (&str, Value)) -> Result<Value, GraphError> {
    let change = if vt.norm { norm(b, name, change)? } else { change };
    b.graph.apply_one(Add, &[x, change])
}
