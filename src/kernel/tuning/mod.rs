//! Capabilities and sizes → tiles. Every heuristic about speed stands here and nowhere else.

pub mod gemm;

use super::Capabilities;

/// Lanes of a workgroup for kernels that walk over elements, and for those that reduce a row.
///
/// Software adapters run lanes one after another, so more of them only cost barriers.
#[must_use]
pub fn lanes(capabilities: &Capabilities) -> u32 {
    if capabilities.software { 64 } else { capabilities.max_workgroup.min(256) }
}

/// How many elements a lane loads and stores at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    One,
    /// Four, side by side.
    Four,
}

impl Width {
    /// How many.
    #[must_use]
    pub const fn elements(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }

    /// The piece of WGSL that makes `elems` and `floats` this wide.
    #[must_use]
    pub const fn piece(self) -> &'static str {
        match self {
            Self::One => "width_1",
            Self::Four => "width_4",
        }
    }
}

/// The widest loads that `columns` elements (the last axis, or a whole tensor) divide into.
#[must_use]
pub const fn width(columns: usize) -> Width {
    if columns.is_multiple_of(4) { Width::Four } else { Width::One }
}
