//! A VT block: tokenizer, transformer, projector.

use super::{Vt, project, tokenize, transform};
use crate::graph::{GraphError, Value};
use crate::models::Builder;

/// What flows from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Pixels, `[N, HW, C]`.
    pub pixels: Value,
    /// H and W.
    pub size: [usize; 2],
    /// The tokens of the last block, `[N, L, C_T]`; none before the first.
    pub tokens: Option<Value>,
}

/// What a block makes anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Tokens; pixels stay what they were.
    Tokens,
    /// Tokens, and pixels that they were projected onto.
    TokensAndPixels,
}

/// Tokenizer, transformer and, where pixels are wanted, projector; and where every token looks if `wanted`:
/// `[N, heads, L, HW]`, rows that sum to 1, from every block that draws tokens by weights.
///
/// # Errors
/// When options do not fit each other, or groups, heads and channels do not divide.
pub fn block(
    b: &mut Builder<'_>,
    vt: &Vt,
    map: Map,
    makes: Makes,
    wanted: Option<&mut Vec<Value>>,
) -> Result<Map, GraphError> {
    let tokenized = tokenize(b, vt, map)?;
    if let (Some(maps), Some(asked)) = (wanted, tokenized.asked) {
        maps.push(match tokenized.weights {
            Some(weights) => weights,
            None => asked.weights(b)?,
        });
    }
    let tokens = transform(b, vt, tokenized.tokens)?;
    let pixels = match makes {
        Makes::Tokens => map.pixels,
        Makes::TokensAndPixels => project(b, vt, map.pixels, tokens)?,
    };
    Ok(Map { pixels, tokens: Some(tokens), ..map })
}
