//! Shapes of tensors, and what is said when they do not fit.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::kernel::Elem;

/// Sizes of a tensor's axes, last axis fastest in memory.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// How many elements; saturated, so that a shape of absurd size is refused for its size and not wrapped to a small one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().fold(1, |count: usize, &size| count.saturating_mul(size))
    }

    /// The sizes as an array, or nothing when the rank differs.
    #[must_use]
    pub fn rank<const N: usize>(&self) -> Option<[usize; N]> {
        <[usize; N]>::try_from(&self.0[..]).ok()
    }

    /// The sizes as an array, once the op's shape rule has fixed the rank.
    ///
    /// # Panics
    /// When the rank is not `N`: a fault of the op, whose shape rule let it pass.
    #[must_use]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        self.rank().expect("the shape rule fixed the rank")
    }
}

impl<S: AsRef<[usize]>> From<S> for Shape {
    fn from(sizes: S) -> Self {
        Self(sizes.as_ref().to_vec())
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", sizes.join(", "))
    }
}

/// What a value is: its shape and what its elements are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tensor {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Element type in memory.
    pub elem: Elem,
}

impl Tensor {
    /// A tensor of this shape and element type.
    #[must_use]
    pub fn new(shape: impl Into<Shape>, elem: Elem) -> Self {
        Self { shape: shape.into(), elem }
    }

    /// A tensor of f32.
    #[must_use]
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self::new(shape, Elem::F32)
    }

    /// Another shape of the same element type.
    #[must_use]
    pub fn shaped(&self, shape: impl Into<Shape>) -> Self {
        Self::new(shape, self.elem)
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.count().saturating_mul(self.elem.bytes())
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.elem, self.shape)
    }
}

/// Why a graph cannot hold what it was asked to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// Inputs do not fit the op.
    #[error("{op}: {problem} (inputs: {inputs})")]
    Shapes {
        /// The op's name.
        op: String,
        /// What does not fit, and what would.
        problem: String,
        /// The inputs' types.
        inputs: String,
    },
    /// A layer's options do not fit each other, or what it is given.
    #[error("{layer}: {problem}")]
    Layer {
        /// The layer's name.
        layer: String,
        /// What does not fit, and what would.
        problem: String,
    },
    /// A gradient was asked for through an op that has none.
    #[error("{op}: has no gradient: {why}")]
    NoGradient {
        /// The op's name.
        op: String,
        /// Why not.
        why: &'static str,
    },
    /// Two values of one name, or a name that no value has.
    #[error("graph: {0}")]
    Name(String),
}
