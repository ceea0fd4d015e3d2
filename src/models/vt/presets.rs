//! Whole answers to all that the sources leave open.

use super::{
    Activation, Attention, Feed, First, Interaction, Later, Position, Projector, Recurrent, Scale, Split, Tokenizer,
    Transformer, Vt,
};
use crate::models::layers::Norm;
use crate::models::layers::Pointwise::{self, Dense, Groups, GroupsOf, Identity};

impl Vt {
    /// Equations 1 to 5 to the letter: C = C_T, no value maps, no scale, no norm, one head.
    #[must_use]
    pub const fn iccv(tokens: usize, channels: usize) -> Self {
        let attention = Attention::PLAIN;
        Self {
            tokens,
            token_channels: channels,
            channels,
            norm: Norm::None,
            tokenizer: Tokenizer {
                first: First::Filter(attention),
                later: Later::Recurrent(Recurrent { split: Split::Full, attention, query: Dense, key: Identity }),
                value: Identity,
                token: Identity,
                position: Position::None,
            },
            interaction: Interaction::Attention(Transformer {
                key_channels: channels,
                key_query: Dense,
                value: Identity,
                attention,
                feed: Feed::Forward,
            }),
            projector: Projector { query: Dense, key: Dense, value: Identity, attention, activation: Activation::None },
        }
    }

    /// The layers whose multiply-adds and parameters are those published for VT-ResNet-18 and 34, where C is not C_T:
    /// pixel maps in groups of `group` channels (64 there), dense maps between C and C_T, keys and queries of C_T / 2 in
    /// two groups.
    ///
    /// Norms, heads, scale and the ReLU after the projector cost no multiply-adds, so that the counts do not decide them:
    /// here they are as in the residual network around.
    #[must_use]
    pub const fn counted(tokens: usize, token_channels: usize, channels: usize, group: usize) -> Self {
        let transformer = (Groups(2), Identity);
        Self::of_counts([tokens, token_channels, channels], GroupsOf(group), Dense, transformer)
    }

    /// As [`Vt::counted`] where C = C_T, as in VT-ResNet-50 and 101: nothing maps between the two, and keys, queries and
    /// values of the transformer are in eight groups. Its parameters are those published, its multiply-adds are not: no
    /// set of layers with 16 tokens was found that has them.
    #[must_use]
    pub const fn counted_alike(tokens: usize, channels: usize, group: usize) -> Self {
        let transformer = (Groups(8), Groups(8));
        Self::of_counts([tokens, channels, channels], GroupsOf(group), Identity, transformer)
    }

    /// `between` is what maps between C and C_T.
    const fn of_counts(
        [tokens, token_channels, channels]: [usize; 3],
        grouped: Pointwise,
        between: Pointwise,
        (key_query, value): (Pointwise, Pointwise),
    ) -> Self {
        let attention = Attention::scaled(1);
        Self {
            tokens,
            token_channels,
            channels,
            norm: Norm::Batch,
            tokenizer: Tokenizer {
                first: First::Filter(attention),
                later: Later::Recurrent(Recurrent { split: Split::Full, attention, query: Dense, key: grouped }),
                value: grouped,
                token: between,
                position: Position::None,
            },
            interaction: Interaction::Attention(Transformer {
                key_channels: token_channels / 2,
                key_query,
                value,
                attention,
                feed: Feed::Forward,
            }),
            projector: Projector {
                query: grouped,
                key: Dense,
                value: between,
                attention,
                activation: Activation::Relu,
            },
        }
    }

    /// The first version (June 2020) and its appendix: half of the tokens are drawn again, the maps of all leave a
    /// position code, the transformer has values in eight groups and one matrix behind, pixel maps are in groups of
    /// `group` channels (64 there), and every attention but the filter's has so many heads (16 there).
    ///
    /// The appendix shows no norms; all that its authors published later has batch norms, and here they stand where those
    /// of the counted preset do.
    #[must_use]
    pub const fn early(tokens: usize, token_channels: usize, channels: usize, [heads, group]: [usize; 2]) -> Self {
        let (attention, grouped) = (Attention::scaled(heads), GroupsOf(group));
        Self {
            tokens,
            token_channels,
            channels,
            norm: Norm::Batch,
            tokenizer: Tokenizer {
                // All heads share the filter's map.
                first: First::Filter(Attention::scaled(1)),
                later: Later::Recurrent(Recurrent { split: Split::Half, attention, query: Dense, key: grouped }),
                value: grouped,
                token: Dense,
                position: Position::Downsampled { size: 14, halvings: 1 },
            },
            interaction: Interaction::Attention(Transformer {
                key_channels: token_channels / 2,
                key_query: Groups(8),
                value: Groups(8),
                attention: Attention { heads, scale: Scale::Tokens },
                feed: Feed::Scaling,
            }),
            projector: Projector { query: grouped, key: Dense, value: Dense, attention, activation: Activation::None },
        }
    }
}
