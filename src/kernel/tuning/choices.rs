//! Tiles that were found fastest on one machine, by what was asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gemm::Tiles;

/// For an op on some inputs, as [`asked`](Choices::get) in words: the tiles that won there. Whatever is not in the table
/// gets the tiles that [`Tiles::choose`] takes, and so does what has an entry that the machine does not know. Any other entry
/// is right, since every way of cutting is; at worst it is slow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, Tiles>);

impl Choices {
    /// The tiles for what is asked, in the words of `Op::asked`.
    #[must_use]
    pub fn get(&self, asked: &str) -> Option<Tiles> {
        self.0.get(asked).copied()
    }

    /// Has these tiles taken for what is asked from now on.
    pub fn set(&mut self, asked: String, tiles: Tiles) {
        self.0.insert(asked, tiles);
    }

    /// Has what is asked cut as on any machine again.
    pub fn unset(&mut self, asked: &str) {
        self.0.remove(asked);
    }

    /// Those for what somebody asks.
    #[must_use]
    pub fn only(&self, asks: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(asked, _)| asks(asked)).map(|(asked, tiles)| (asked.clone(), *tiles)).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
