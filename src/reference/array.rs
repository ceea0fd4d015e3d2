//! A tensor on the CPU: a shape and its numbers, last axis fastest.

use rayon::prelude::*;

use super::{Random, Real};

/// Numbers that are worth a core's while.
pub(crate) const PIECE: usize = 1 << 14;

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

    /// From a function of the element's number; the cores share them out.
    #[must_use]
    pub fn from_fn(shape: &[usize], f: impl Fn(usize) -> T + Sync + Send) -> Self {
        let count: usize = shape.iter().product();
        Self { shape: shape.to_vec(), data: (0..count).into_par_iter().with_min_len(PIECE).map(f).collect() }
    }

    /// From numbers in their order: drawn ones, say.
    #[must_use]
    pub fn from_numbers(shape: &[usize], numbers: impl Iterator<Item = T>) -> Self {
        Self { shape: shape.to_vec(), data: numbers.take(shape.iter().product()).collect() }
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

    /// For each of `channels` columns the sum of `term(number)` over `rows` rows, in their order, as one core would add.
    #[must_use]
    pub fn sum_columns(rows: usize, channels: usize, term: impl Fn(usize) -> T + Sync) -> Self {
        // A cache line of f64 wide: narrower, cores would read each other's lines.
        const WIDTH: usize = 8;
        Self::from_rows(&[channels], WIDTH, |block, sums| {
            for row in 0..rows {
                for (column, sum) in (block * WIDTH..).zip(sums.iter_mut()) {
                    *sum += term(row * channels + column);
                }
            }
        })
    }

    /// Each number through `f`.
    #[must_use]
    pub fn map<U: Real>(&self, f: impl Fn(T) -> U + Sync + Send) -> Array<U> {
        let data = self.data.par_iter().with_min_len(PIECE).map(|&number| f(number)).collect();
        Array { shape: self.shape.clone(), data }
    }

    /// Two arrays of one shape, number by number.
    #[must_use]
    pub fn zip(&self, other: &Self, f: impl Fn(T, T) -> T + Sync + Send) -> Self {
        let pairs = self.data.par_iter().zip(&other.data).with_min_len(PIECE);
        Self { shape: self.shape.clone(), data: pairs.map(|(&a, &b)| f(a, b)).collect() }
    }

    /// Each number moved at random, by up to this share of it.
    #[must_use]
    pub fn moved(&self, most: f64, random: &mut Random) -> Self {
        let move_one = |number: &T| T::of(number.to_f64() * (1.0 + most * (2.0 * random.uniform() - 1.0)));
        Self { shape: self.shape.clone(), data: self.data.iter().map(move_one).collect() }
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
