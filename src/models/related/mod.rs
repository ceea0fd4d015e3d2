//! Layers that the paper's are compared with.

mod adaptive;

pub use adaptive::{Adaptive, adaptive_block};

use serde::{Deserialize, Serialize};

use crate::ops::Map;

/// What a gate makes of what it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// Between 0 and 1, as all the papers have it.
    #[default]
    Sigmoid,
    /// 0 or more: no exponential, and no upper bound.
    Relu,
}

impl Nonlinearity {
    /// As an op's function.
    #[must_use]
    pub const fn map(self) -> Map {
        match self {
            Self::Sigmoid => Map::Sigmoid,
            Self::Relu => Map::Relu,
        }
    }
}
