//! From pixels to tokens: filter (equation 1), recurrent (equation 2), clustering (appendix C) and pooling tokenizers.

use serde::{Deserialize, Serialize};

use super::attention::{Asked, Attention, weighted};
use super::cluster::centroids;
use super::position::{Position, code};
use super::{Map, Vt};
use crate::graph::{GraphError, Value};
use crate::models::layers::{Pointwise, refusal, reshape};
use crate::models::{Builder, Init};
use crate::ops::{Concat, Repeat, Resize, ResizeMode, Slice};

/// How tokens are drawn from pixels: T = map(Aᵀ value(X)), A from [`First`] in the first block and as [`Later`] says in
/// those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    /// The first block, which has no tokens yet.
    pub first: First,
    /// The blocks behind it.
    pub later: Later,
    /// Pixels become values, C → C: V = X W_V in the early version, X itself in the equations of 2021.
    pub value: Pointwise,
    /// Weighted means of values become tokens, C → C_T; none where C = C_T, as in the equations.
    pub token: Pointwise,
    /// Whether tokens carry a code of where they come from.
    pub position: Position,
}

/// A tokenizer that needs no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// A = softmax over pixels(X W_A), T = Aᵀ X (equation 1): the columns of W_A are learned queries that all images
    /// share, and the pixels are keys.
    Filter(Attention),
    /// As [`Self::Filter`], with W_A = kmeans(X), the centroids of the image's own pixels (appendix C). Centroids and
    /// pixels are unit vectors there; centroids start from X pooled to L pixels as by [`Self::Pooling`], and each round of
    /// Lloyd's moves every centroid to the mean of the pixels that are nearest to it.
    Clustering {
        /// Rounds of Lloyd's.
        rounds: usize,
        /// Heads and scale.
        attention: Attention,
    },
    /// T = X resized to L pixels, bilinear (the ablation of table 3): L = rows x columns, rows the largest divisor of L
    /// that is not above its root.
    Pooling,
}

/// The tokenizer of blocks that get tokens T_in from the block before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Later {
    /// W_R = T_in W_{T→R}, T = softmax over pixels(X W_Rᵀ)ᵀ X (equation 2).
    Recurrent(Recurrent),
    /// As in the first block, with parameters of its own (table 4, "without RT").
    Anew,
    /// None: T = T_in. For blocks that never project (table 7), whose map stays what it was.
    Kept,
}

/// The recurrent ("dynamic") tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Which tokens are drawn again.
    pub split: Split,
    /// Heads and scale.
    pub attention: Attention,
    /// Tokens become queries, C_T → C (W_{T→R}).
    pub query: Pointwise,
    /// Pixels become keys, C → C.
    pub key: Pointwise,
}

/// Which tokens a recurrent tokenizer draws again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// All of them: equation 2.
    Full,
    /// T = concat(T_b, tokenizer(T_a W, X)), T_a and T_b the halves of T_in: the early version. What is kept stands first.
    Half,
}

/// What a tokenizer makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokenized {
    /// `[N, L, C_T]`.
    pub tokens: Value,
    /// Which tokens asked which pixels; nothing where none did.
    pub asked: Option<Asked>,
    /// The weights of that where they were written down: `[N, heads, L, HW]`.
    pub weights: Option<Value>,
}

/// Map of pixels `[N, HW, C]`, and tokens `[N, L, C_T]` if there are any → tokens `[N, L, C_T]`.
///
/// # Errors
/// When groups, heads and channels do not divide, an odd number of tokens shall be halved, or a position is wanted of a
/// tokenizer without weights.
pub fn tokenize(b: &mut Builder<'_>, vt: &Vt, map: Map) -> Result<Tokenized, GraphError> {
    match (map.tokens, vt.tokenizer.later) {
        (Some(tokens), Later::Kept) => Ok(Tokenized { tokens, asked: None, weights: None }),
        (Some(tokens), Later::Recurrent(recurrent)) => {
            b.scoped("tokenizer", |b| again(b, vt, map.pixels, (tokens, recurrent), map.size))
        }
        (Some(_), Later::Anew) | (None, _) => b.scoped("tokenizer", |b| anew(b, vt, map)),
    }
}

/// Tokens from pixels alone.
fn anew(b: &mut Builder<'_>, vt: &Vt, map: Map) -> Result<Tokenized, GraphError> {
    let tensor = b.graph.tensor(map.pixels).clone();
    let [n, _, channels] = tensor.shape.dims();
    let (query, attention) = match vt.tokenizer.first {
        First::Filter(attention) => {
            let shape = tensor.shaped([1, vt.tokens, channels]);
            let init = Init::Normal(attention.spread(channels, vt.tokens));
            let filter = b.parameters.weight(b.graph, "filter", shape, init)?;
            (b.graph.apply_one(Repeat { times: n }, &[filter])?, attention)
        }
        First::Clustering { rounds, attention } => (centroids(b, map, (vt.tokens, rounds))?, attention),
        First::Pooling => return pool(b, vt, map),
    };
    let asked = Asked { query, key: map.pixels, attend: attention.op(channels, vt.tokens) };
    draw(b, vt, asked, map.pixels, map.size)
}

/// Tokens from pixels and the tokens before.
fn again(
    b: &mut Builder<'_>,
    vt: &Vt,
    pixels: Value,
    (tokens, recurrent): (Value, Recurrent),
    size: [usize; 2],
) -> Result<Tokenized, GraphError> {
    let channels = b.shape(pixels)[2];
    let count = b.shape(tokens)[1];
    let mut half = |start: usize| b.graph.apply_one(Slice { axis: 1, start, length: count / 2 }, &[tokens]);
    let (asking, kept) = match recurrent.split {
        Split::Full => (tokens, None),
        Split::Half if count.is_multiple_of(2) => (half(0)?, Some(half(count / 2)?)),
        Split::Half => {
            let problem = format!("{count} tokens have no halves: take an even number, or Split::Full");
            return Err(refusal("tokenizer", problem));
        }
    };
    let query = recurrent.query.apply(b, "query", asking, channels)?;
    let key = recurrent.key.apply(b, "key", pixels, channels)?;
    let asked = Asked { query, key, attend: recurrent.attention.op(channels, count) };
    let drawn = draw(b, vt, asked, pixels, size)?;
    let tokens = match kept {
        Some(kept) => b.graph.apply_one(Concat { axis: 1 }, &[kept, drawn.tokens])?,
        None => drawn.tokens,
    };
    Ok(Tokenized { tokens, ..drawn })
}

/// The tokens of those who ask, with their positions if wanted.
fn draw(b: &mut Builder<'_>, vt: &Vt, asked: Asked, pixels: Value, size: [usize; 2]) -> Result<Tokenized, GraphError> {
    let channels = b.shape(pixels)[2];
    let value = vt.tokenizer.value.apply(b, "value", pixels, channels)?;
    let (drawn, weights) = match vt.tokenizer.position {
        Position::None => (asked.of(b, value)?, None),
        Position::Downsampled { size: resized, halvings } => {
            let weights = asked.weights(b)?;
            let pooled = weighted(b, weights, value)?;
            let position = code(b, weights, size, (resized, halvings))?;
            (b.graph.apply_one(Concat { axis: 2 }, &[pooled, position])?, Some(weights))
        }
    };
    Ok(Tokenized { tokens: lift(b, vt, drawn)?, asked: Some(asked), weights })
}

/// Pixels resized to as many as there are to be tokens.
fn pool(b: &mut Builder<'_>, vt: &Vt, map: Map) -> Result<Tokenized, GraphError> {
    if vt.tokenizer.position != Position::None {
        let problem = "pooling has no weights that a position could be read from: take First::Filter or Position::None";
        return Err(refusal("tokenizer", problem));
    }
    let channels = b.shape(map.pixels)[2];
    let value = vt.tokenizer.value.apply(b, "value", map.pixels, channels)?;
    let pooled = resized(b, Map { pixels: value, ..map }, vt.tokens, ResizeMode::Bilinear)?;
    Ok(Tokenized { tokens: lift(b, vt, pooled)?, asked: None, weights: None })
}

/// A map brought to `count` pixels: `[N, HW, C]` → `[N, count, C]`.
pub(super) fn resized(b: &mut Builder<'_>, map: Map, count: usize, mode: ResizeMode) -> Result<Value, GraphError> {
    let [n, _, channels] = b.graph.tensor(map.pixels).shape.dims();
    let image = reshape(b, map.pixels, [n, map.size[0], map.size[1], channels])?;
    let rows = (1..=count.isqrt()).rev().find(|rows| count.is_multiple_of(*rows)).unwrap_or(1);
    let small = b.graph.apply_one(Resize { size: [rows, count / rows], mode }, &[image])?;
    reshape(b, small, [n, count, channels])
}

/// `[N, L, C]` → tokens `[N, L, C_T]`, normalized.
fn lift(b: &mut Builder<'_>, vt: &Vt, drawn: Value) -> Result<Value, GraphError> {
    let tokens = vt.tokenizer.token.apply(b, "token", drawn, vt.token_channels)?;
    vt.norm.apply(b, "norm", tokens)
}
