//! The pyramid of VT-FPN: every level becomes a few tokens, tokens of all levels attend to each other, and each level gets its own
//! back (Wu et al. 2021, section 4).

use serde::{Deserialize, Serialize};

use super::laterals::size;
use crate::graph::{GraphError, Value};
use crate::models::Builder;
use crate::models::layers::{Norm, Pointwise, reshape};
use crate::models::vt::{
    Activation, Attention, Feed, First, Interaction, Later, Map, Position, Projector, Tokenizer, Transformer, Vt,
    project, tokenize, transform,
};
use crate::ops::{Concat, split};

/// Tokens of every level, what they learn from each other, and the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPyramid {
    /// L of each level, the largest map first.
    pub tokens: Vec<usize>,
    /// How many transformers tokens pass, one behind the other.
    pub layers: usize,
    /// Tokenizer, transformer and projector; of its own number of tokens nobody asks.
    pub vt: Vt,
}

impl TokenPyramid {
    /// The layers whose multiply-adds are those that the paper states for VT-FPN: pixels are their own values, queries of pixels and all maps
    /// between C and C_T are in so many groups, and the transformer is that of [`Vt::counted_alike`].
    ///
    /// At 800x1216 and with 8 tokens a level the pyramid then takes 8.54 G with its laterals, at 473x473 2.06 G, both as published.
    /// Heads, scale and norms cost none; here they are as in VT-ResNet, one head for each map.
    #[must_use]
    pub fn counted(tokens: Vec<usize>, token_channels: usize, channels: usize, groups: usize) -> Self {
        let (attention, grouped) = (Attention::scaled(1), Pointwise::Groups(groups));
        let vt = Vt {
            tokens: tokens.iter().copied().max().unwrap_or(0),
            token_channels,
            channels,
            norm: Norm::Batch,
            tokenizer: Tokenizer {
                first: First::Filter(attention),
                later: Later::Kept,
                value: Pointwise::Identity,
                token: grouped,
                position: Position::None,
            },
            interaction: Interaction::Attention(Transformer {
                key_channels: token_channels / 2,
                key_query: Pointwise::Groups(8),
                value: Pointwise::Groups(8),
                attention,
                feed: Feed::Forward,
            }),
            projector: Projector {
                query: grouped,
                key: grouped,
                value: grouped,
                attention,
                activation: Activation::None,
            },
        };
        Self { tokens, layers: 1, vt }
    }

    /// The scopes of what may be made again for a backward pass: each level's projector.
    pub(super) fn blocks(&self) -> Vec<String> {
        (0..self.tokens.len()).map(|at| format!("{}/projector", level_scope(at))).collect()
    }

    /// Levels `[N, H, W, C]`, the largest first → the same, each with its tokens projected onto it; and where every token looks if
    /// `wanted`: `[N, heads, L, HW]` of each level, and its height and width.
    pub(super) fn build(
        &self,
        b: &mut Builder<'_>,
        levels: &[Value],
        mut wanted: Option<&mut Vec<(Value, [usize; 2])>>,
    ) -> Result<Vec<Value>, GraphError> {
        let of_level = |at: usize| Vt { tokens: self.tokens[at], ..self.vt };
        let mut maps = Vec::with_capacity(levels.len());
        for (at, &level) in levels.iter().enumerate() {
            let [n, height, width, channels] = b.graph.tensor(level).shape.dims();
            let pixels = reshape(b, level, [n, height * width, channels])?;
            let map = Map { pixels, size: [height, width], tokens: None };
            let tokenized = b.scoped(level_scope(at), |b| tokenize(b, &of_level(at), map))?;
            if let (Some(wanted), Some(asked)) = (&mut wanted, tokenized.asked) {
                wanted.push((asked.weights(b)?, map.size));
            }
            maps.push((pixels, tokenized.tokens));
        }
        let tokens: Vec<Value> = maps.iter().map(|&(_, tokens)| tokens).collect();
        let mut all = b.graph.apply_one(Concat { axis: 1 }, &tokens)?;
        for layer in 1..=self.layers {
            all = b.scoped(format!("layer{layer}"), |b| transform(b, &self.vt, all))?;
        }
        let tokens = split(b.graph, all, 1, &self.tokens)?;
        let mut projected = levels.to_vec();
        // The smallest first: when the largest is projected, the maps of the others are not kept any more.
        for (at, (&(pixels, _), &tokens)) in maps.iter().zip(&tokens).enumerate().rev() {
            let pixels = b.scoped(level_scope(at), |b| project(b, &of_level(at), pixels, tokens))?;
            let [n, _, channels] = b.graph.tensor(pixels).shape.dims();
            let [height, width] = size(b, levels[at]);
            projected[at] = reshape(b, pixels, [n, height, width, channels])?;
        }
        Ok(projected)
    }
}

/// The scope of a level; the largest, of the second stage, is the first.
fn level_scope(at: usize) -> String {
    format!("level{}", at + 2)
}
