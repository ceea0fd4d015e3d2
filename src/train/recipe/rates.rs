//! How a recipe says its learning rates: in passes over the images, or in steps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// So many steps.
    Steps(u64),
    /// So many passes over the images.
    Epochs(u64),
}

impl Span {
    /// How many steps that are, where so many are a pass.
    #[must_use]
    pub const fn steps(self, pass: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => epochs.saturating_mul(pass),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps} steps"),
            Self::Epochs(1) => f.write_str("1 epoch"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
        }
    }
}

/// `5`, which are epochs, or `500steps`.
impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = match text.strip_suffix("steps") {
            Some(steps) => steps.parse().map(Self::Steps),
            None => text.parse().map(Self::Epochs),
        };
        span.map_err(|_| format!("`{text}` is neither epochs, such as 5, nor steps, such as 500steps"))
    }
}

/// How a learning rate goes on from its peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// It stays.
    Constant,
    /// Multiplied by `factor` after every such span.
    Decay {
        /// What it is multiplied by.
        factor: f64,
        /// From one multiplication to the next.
        every: Span,
    },
    /// Down to 0 along half a cosine.
    Cosine,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Decay { factor, every } => write!(f, "x {factor:?} every {every}"),
            Self::Cosine => f.write_str("cosine to 0"),
        }
    }
}

/// `cosine`, `constant`, `step[:FACTOR[:SPAN]]` (0.1 every 30 epochs), `exponential[:FACTOR[:SPAN]]` (0.9875 every epoch).
impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let (usual, every) = match words.next() {
            Some("cosine") if text == "cosine" => return Ok(Self::Cosine),
            Some("constant") if text == "constant" => return Ok(Self::Constant),
            Some("step") => (0.1, Span::Epochs(30)),
            Some("exponential") => (0.9875, Span::Epochs(1)),
            _ => return Err("it is cosine, constant, step[:FACTOR[:EVERY]] or exponential[:FACTOR[:EVERY]]".to_owned()),
        };
        let factor = match words.next().map(str::parse) {
            None => usual,
            Some(Ok(factor)) if factor > 0.0 && factor <= 1.0 => factor,
            Some(_) => return Err("the factor is above 0 and at most 1, such as 0.1".to_owned()),
        };
        let every = words.next().map_or(Ok(every), str::parse)?;
        match (every.steps(1), words.next()) {
            (1.., None) => Ok(Self::Decay { factor, every }),
            _ => Err(format!("`{text}` has a span of 0, or more than a factor and a span")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Span};

    #[test]
    fn shapes_are_read() {
        let decay = |factor, every| Ok(Shape::Decay { factor, every });
        for (text, shape) in [
            ("cosine", Ok(Shape::Cosine)),
            ("constant", Ok(Shape::Constant)),
            ("step", decay(0.1, Span::Epochs(30))),
            ("step:0.5:2", decay(0.5, Span::Epochs(2))),
            ("exponential", decay(0.9875, Span::Epochs(1))),
            ("exponential:0.99:100steps", decay(0.99, Span::Steps(100))),
        ] {
            assert_eq!(text.parse(), shape, "{text}");
        }
        let refused = ["", "cosine:1", "line", "step:0", "step:2", "step:NaN", "step:x", "step:0.1:0", "step:0.1:-1"];
        for text in refused.into_iter().chain(["step:0.1:1:1"]) {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }
}
