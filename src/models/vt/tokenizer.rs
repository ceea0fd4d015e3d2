//! From pixels to tokens: the filter tokenizer (equation 1) and the recurrent one (equation 2).

use super::Vt;
use crate::graph::{GraphError, Value};
use crate::models::layers::{Pointwise, norm};
use crate::models::{Builder, Init};
use crate::ops::Repeat;

/// How tokens are drawn from pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    /// Recurrent only: the last tokens, C_T → C, become queries (W_{T→R}).
    pub query: Pointwise,
    /// Recurrent only: pixels become keys, C → C.
    pub key: Pointwise,
    /// Pixels become values, C → C.
    pub value: Pointwise,
    /// Weighted means of values become tokens, C → C_T.
    pub token: Pointwise,
}

/// What a tokenizer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenized {
    /// `[N, L, C_T]`.
    pub tokens: Value,
    /// What asked, `[N, L, C]`.
    pub query: Value,
    /// What was asked, `[N, HW, C]`.
    pub key: Value,
}

/// T = softmax over pixels (q kᵀ)ᵀ v, mapped to C_T: pixels `[N, HW, C]` → tokens `[N, L, C_T]`.
///
/// Without `last` this is the filter tokenizer: the columns of W_A are learned queries that all images share, and keys
/// are the pixels. With the tokens of the block before, `last`, queries are made of those.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn tokenize(b: &mut Builder<'_>, vt: &Vt, pixels: Value, last: Option<Value>) -> Result<Tokenized, GraphError> {
    let tensor = b.graph.tensor(pixels).clone();
    let [n, _, channels] = tensor.shape.dims();
    let maps = vt.tokenizer;
    b.scoped("tokenizer", |b| {
        let (query, key) = match last {
            None => {
                // Scores start with a spread of 1 for pixels of size 1: small queries would make all tokens the mean.
                let init = Init::Normal(if vt.scaled { 1.0 } else { (channels as f64).powf(-0.5) });
                let filter = b.parameters.weight(b.graph, "filter", tensor.shaped([1, vt.tokens, channels]), init)?;
                (b.graph.apply_one(Repeat { times: n }, &[filter])?, pixels)
            }
            Some(last) => (maps.query.apply(b, "query", last, channels)?, maps.key.apply(b, "key", pixels, channels)?),
        };
        let value = maps.value.apply(b, "value", pixels, channels)?;
        let pooled = b.graph.apply(vt.attend(channels), &[query, key, value])?[0];
        let mut tokens = maps.token.apply(b, "token", pooled, vt.token_channels)?;
        if vt.norm {
            tokens = norm(b, "norm", tokens)?;
        }
        Ok(Tokenized { tokens, query, key })
    })
}
