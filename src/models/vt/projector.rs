//! From tokens back to pixels: equation 5.

use serde::{Deserialize, Serialize};

use super::{Attention, Vt};
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{Pointwise, relu};
use crate::ops::Add;

/// How tokens return to pixels: X_out = X + softmax over tokens((X W_Q)(T W_K)ᵀ) value(T).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projector {
    /// Pixels become queries, C_in → C (W_Q).
    pub query: Pointwise,
    /// Tokens become keys, C_T → C (W_K).
    pub key: Pointwise,
    /// Tokens become values, C_T → C (V of the early version); the equations of 2021 have none, and C = C_T.
    pub value: Pointwise,
    /// Heads and scale.
    pub attention: Attention,
    /// What follows the sum.
    pub activation: Activation,
}

/// What follows a residual sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing, as in equation 5.
    None,
    /// ReLU, as behind every residual block of the network around.
    Relu,
}

/// Pixels `[N, HW, C_in]` and tokens `[N, L, C_T]` → pixels `[N, HW, C]`.
///
/// Where C_in differs from C, a pointwise shortcut lifts X.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn project(b: &mut Builder<'_>, vt: &Vt, pixels: Value, tokens: Value) -> Result<Value, GraphError> {
    let channels = vt.channels;
    let maps = vt.projector;
    let count = b.shape(tokens)[1];
    b.scoped("projector", |b| {
        let query = maps.query.apply(b, "query", pixels, channels)?;
        let key = maps.key.apply(b, "key", tokens, channels)?;
        let value = maps.value.apply(b, "value", tokens, channels)?;
        let projected = b.graph.apply(maps.attention.op(channels, count), &[query, key, value])?[0];
        let projected = vt.norm.apply(b, "norm", projected)?;
        let projected = b.branch(projected)?;
        let shortcut = match b.shape(pixels).last() == Some(&channels) {
            true => pixels,
            false => {
                let lifted = Pointwise::Dense.apply(b, "shortcut", pixels, channels)?;
                vt.norm.apply(b, "norm_shortcut", lifted)?
            }
        };
        let sum = b.graph.apply_one(Add, &[shortcut, projected])?;
        match maps.activation {
            Activation::None => Ok(sum),
            Activation::Relu => relu(b, sum),
        }
    })
}
