//! One build of a kernel: which pieces it is made of, and its numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Elem, Fragment};

/// One build of a kernel. Together with the kernel it is the key of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    pieces: BTreeSet<&'static str>,
    constants: BTreeMap<&'static str, u32>,
}

impl Variant {
    /// The build for elements of this type.
    #[must_use]
    pub fn of(elem: Elem) -> Self {
        Self::default().piece(elem.piece())
    }

    /// With a choice made: where a file needs `a | b`, the one named here is taken.
    #[must_use]
    pub fn piece(mut self, piece: &'static str) -> Self {
        self.pieces.insert(piece);
        self
    }

    /// With a number set that the kernel lists in a `// constants` line.
    #[must_use]
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.insert(name, value);
        self
    }

    /// Whether this choice was made.
    #[must_use]
    pub fn has(&self, piece: &str) -> bool {
        self.pieces.contains(piece)
    }

    /// Whether it multiplies cooperative matrices.
    #[must_use]
    pub fn is_cooperative(&self) -> bool {
        [Fragment::Eight, Fragment::Sixteen].into_iter().any(|fragment| self.has(fragment.piece()))
    }

    /// The choices made.
    pub fn pieces(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.pieces.iter().copied()
    }

    /// The numbers set.
    #[must_use]
    pub fn constants(&self) -> &BTreeMap<&'static str, u32> {
        &self.constants
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces.iter().map(|piece| (*piece).to_owned());
        let constants = self.constants.iter().map(|(name, value)| format!("{}={value}", name.to_lowercase()));
        f.write_str(&pieces.chain(constants).collect::<Vec<_>>().join(" "))
    }
}
