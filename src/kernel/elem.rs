//! What the elements of a tensor are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The element type of a tensor in memory. Sums are always taken in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE binary16).
    F16,
    /// 32-bit unsigned integer: labels and indices.
    U32,
}

impl Elem {
    /// Bytes an element takes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    /// The unit roundoff: half the distance between 1 and the next number; 0 for integers.
    #[must_use]
    pub const fn rounding(self) -> f64 {
        match self {
            Self::F32 => 5.960_464_477_539_063e-8,
            Self::F16 => 4.882_812_5e-4,
            Self::U32 => 0.0,
        }
    }

    /// The piece of WGSL that makes `elem` this type.
    #[must_use]
    pub const fn piece(self) -> &'static str {
        match self {
            Self::F32 | Self::U32 => "elem_f32",
            Self::F16 => "elem_f16",
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        })
    }
}
