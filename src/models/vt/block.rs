//! A VT block: tokenizer, transformer, projector.

use super::attention::attention;
use super::{Vt, project, tokenize, transform};
use crate::graph::{GraphError, Value};
use crate::models::Builder;

/// What flows from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Pixels, `[N, HW, C]`.
    pub pixels: Value,
    /// The tokens of the last block, `[N, L, C_T]`; none before the first.
    pub tokens: Option<Value>,
}

/// Tokenizer (filter where there are no tokens yet, else recurrent), transformer, and, unless this block is the `last`,
/// projector. Tokens, pixels; and where every token looks if `wanted`: `[N, heads, L, HW]`, rows that sum to 1.
///
/// # Errors
/// When groups, heads and channels do not divide.
pub fn block(
    b: &mut Builder<'_>,
    vt: &Vt,
    map: Map,
    last: bool,
    wanted: Option<&mut Vec<Value>>,
) -> Result<Map, GraphError> {
    let tokenized = tokenize(b, vt, map.pixels, map.tokens)?;
    if let Some(maps) = wanted {
        maps.push(attention(b, vt, &tokenized)?);
    }
    let tokens = transform(b, vt, tokenized.tokens)?;
    let pixels = if last { map.pixels } else { project(b, vt, map.pixels, tokens)? };
    Ok(Map { pixels, tokens: Some(tokens) })
}
