//! Visual transformers (Wu et al. 2021): a feature map becomes a few tokens, tokens attend to each other, and are
//! projected back onto the map. Arrangements of `attend` and pointwise maps.
//!
//! **Absent here**: the softmax and its axis; `attend` knows them.

mod attention;
mod block;
mod projector;
mod tokenizer;
mod transformer;

pub use block::{Map, block};
pub use projector::{Projector, project};
pub use tokenizer::{Tokenized, Tokenizer, tokenize};
pub use transformer::{Transformer, transform};

use super::layers::Pointwise;
use crate::ops::Attend;

/// What a VT block is made of. The paper's equations leave out what joins maps of C channels to tokens of C_T; two
/// presets answer that: [`Vt::equations`], which needs C = C_T, and [`Vt::counted`], whose sizes follow from the
/// published numbers of multiply-adds and parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Vt {
    /// L, the number of tokens.
    pub tokens: usize,
    /// C_T, the channels of a token.
    pub token_channels: usize,
    /// C, the channels of the map that a projector makes; where the map comes with fewer, a shortcut lifts it.
    pub channels: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Whether scores are divided by the square root of a head's channels; the equations have no scale.
    pub scaled: bool,
    /// Whether token, attention, feed-forward and projector outputs are normalized over the batch.
    pub norm: bool,
    /// How tokens are drawn from pixels.
    pub tokenizer: Tokenizer,
    /// How tokens attend to each other.
    pub transformer: Transformer,
    /// How tokens return to pixels.
    pub projector: Projector,
}

impl Vt {
    /// Equations 1 to 5 to the letter: C = C_T, no value maps, no scale, no norm, one head.
    #[must_use]
    pub const fn equations(tokens: usize, channels: usize) -> Self {
        use Pointwise::{Dense, Identity};
        Self {
            tokens,
            token_channels: channels,
            channels,
            heads: 1,
            scaled: false,
            norm: false,
            tokenizer: Tokenizer { query: Dense, key: Identity, value: Identity, token: Identity },
            transformer: Transformer { key_channels: channels, key_query: Dense, value: Identity },
            projector: Projector { query: Dense, key: Dense, value: Identity, relu: false },
        }
    }

    /// The layers whose multiply-adds and parameters are those published for VT-ResNet-18 and 34: pixel maps in groups
    /// of `group` channels (64 there), dense maps between C and C_T, keys and queries of C_T / 2 in two groups.
    ///
    /// Norms, scale and the ReLU after the projector cost no multiply-adds, so that the counts do not decide them: here
    /// they are as in the residual network around.
    #[must_use]
    pub const fn counted(tokens: usize, token_channels: usize, channels: usize, group: usize) -> Self {
        use Pointwise::{Dense, Groups, GroupsOf, Identity};
        let grouped = GroupsOf(group);
        Self {
            tokens,
            token_channels,
            channels,
            heads: 1,
            scaled: true,
            norm: true,
            tokenizer: Tokenizer { query: Dense, key: grouped, value: grouped, token: Dense },
            transformer: Transformer { key_channels: token_channels / 2, key_query: Groups(2), value: Identity },
            projector: Projector { query: grouped, key: Dense, value: Dense, relu: true },
        }
    }

    /// The attention whose queries and keys have this many channels.
    #[must_use]
    pub fn attend(&self, key_channels: usize) -> Attend {
        let heads = self.heads.max(1);
        let scale = if self.scaled { (heads as f64 / key_channels.max(1) as f64).sqrt() } else { 1.0 };
        Attend { heads: self.heads, scale }
    }
}
