//! Visual transformers (Wu et al. 2021): a feature map becomes a few tokens, tokens attend to each other, and are
//! projected back onto the map. Arrangements of `attend` and pointwise maps.
//!
//! The equations number as in the paper of ICCV 2021: 1 and 2 the tokenizers, 3 and 4 the transformer, 5 the projector.
//! They leave out what joins maps of C channels to tokens of C_T, and the paper's first version (June 2020) has other
//! ones. So everything that sources say differently is an option, and three presets answer all of them at once:
//!
//! | | [`Vt::iccv`] | [`Vt::counted`] | [`Vt::early`] |
//! |---|---|---|---|
//! | what it is | the equations to the letter | the layers whose counts are those of the paper's tables | the first version and its appendix |
//! | widths | C = C_T | C_T = 1024 | C_T = 1024 |
//! | values of the tokenizer | X | grouped | grouped |
//! | recurrent tokenizer | all tokens | all tokens | half of them |
//! | position code | none | none | 49 channels |
//! | values of the transformer | T | T (C = C_T: grouped) | grouped |
//! | after its attention | relu(T F1) F2 | relu(T F1) F2 | F |
//! | values of the projector | T | dense (C = C_T: T) | dense |
//! | heads, scale | 1, none | 1, by head | 16, by head; by tokens in the transformer |
//! | norms | none | batch | batch |
//!
//! **Absent here**: the softmax and its axis; `attend` knows them.

mod attention;
mod block;
mod cluster;
mod position;
mod presets;
mod projector;
mod tokenizer;
mod transformer;

pub use attention::{Asked, Attention, Scale};
pub use block::{Makes, Map, block};
pub use position::Position;
pub use projector::{Activation, Projector, project};
pub use tokenizer::{First, Later, Recurrent, Split, Tokenized, Tokenizer, tokenize};
pub use transformer::{Feed, Interaction, Transformer, transform};

use serde::{Deserialize, Serialize};

use super::layers::Norm;

/// What a VT block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vt {
    /// L, the number of tokens.
    pub tokens: usize,
    /// C_T, the channels of a token.
    pub token_channels: usize,
    /// C, the channels of the map that a projector makes; where the map comes with fewer, a shortcut lifts it.
    pub channels: usize,
    /// What token, attention, feed-forward and projector outputs are normalized by.
    pub norm: Norm,
    /// How tokens are drawn from pixels.
    pub tokenizer: Tokenizer,
    /// What tokens learn from each other.
    pub interaction: Interaction,
    /// How tokens return to pixels.
    pub projector: Projector,
}

impl Vt {
    /// The same with so many heads in every attention.
    #[must_use]
    pub const fn with_heads(mut self, heads: usize) -> Self {
        if let First::Filter(attention) | First::Clustering { attention, .. } = &mut self.tokenizer.first {
            attention.heads = heads;
        }
        if let Later::Recurrent(recurrent) = &mut self.tokenizer.later {
            recurrent.attention.heads = heads;
        }
        if let Interaction::Attention(transformer) = &mut self.interaction {
            transformer.attention.heads = heads;
        }
        self.projector.attention.heads = heads;
        self
    }
}
