//! A tensor on the CPU: a shape and its numbers, last axis fastest.

use rayon::prelude::*;

use super::Real;

/// A tensor on the CPU, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The numbers, last axis fastest.
    pub data: Vec<T>,
}

impl<T: Real> Array<T> {
    /// All zeros.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![T::default(); shape.iter().product()] }
    }

    /// From a function of the element's number.
    #[must_use]
    pub fn from_fn(shape: &[usize], f: impl FnMut(usize) -> T) -> Self {
        Self { shape: shape.to_vec(), data: (0..shape.iter().product()).map(f).collect() }
    }

    /// Zeros, then `fill(number, row)` for every `width` consecutive numbers (the last row may be shorter).
    ///
    /// Rows are shared out among the cores; each is filled by one, so the numbers do not depend on how many there are.
    #[must_use]
    pub fn from_rows(shape: &[usize], width: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let mut array = Self::zeros(shape);
        array.data.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, numbers)| fill(row, numbers));
        array
    }

    /// Each number through `f`.
    #[must_use]
    pub fn map<U: Real>(&self, f: impl FnMut(T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().copied().map(f).collect() }
    }

    /// Two arrays of one shape, number by number.
    #[must_use]
    pub fn zip(&self, other: &Self, mut f: impl FnMut(T, T) -> T) -> Self {
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect();
        Self { shape: self.shape.clone(), data }
    }

    /// In another precision.
    #[must_use]
    pub fn cast<U: Real>(&self) -> Array<U> {
        self.map(|value| U::of(value.to_f64()))
    }

    /// The sizes as an array. The op's shape rule has already fixed the rank, so a mismatch is a fault of this crate.
    ///
    /// # Panics
    /// When the rank is not `N`.
    #[must_use]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        <[usize; N]>::try_from(&self.shape[..]).expect("the shape rule fixed the rank")
    }
}
