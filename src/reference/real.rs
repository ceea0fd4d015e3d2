//! The numbers that an op's maths is written over: f64 gives the truth, f32 the yardstick.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A real number, f32 or f64. Maths written over it runs in both.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// The number nearest to `value`.
    fn of(value: f64) -> Self;
    /// The number as f64, exactly.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^self.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to self, to this type's precision.
    #[must_use]
    fn erf(self) -> Self {
        Self::of(erf(self.to_f64()))
    }
    /// The larger of two; NaN if either is.
    #[must_use]
    fn max(self, other: Self) -> Self {
        if self > other || self.to_f64().is_nan() { self } else { other }
    }
    /// `count` as a number.
    #[must_use]
    fn count(count: usize) -> Self {
        Self::of(count as f64)
    }
    /// The number as an index: labels travel as numbers through the interpreter.
    fn index(self) -> usize {
        let value = self.to_f64();
        if (0.0..9.0e15).contains(&value) { value as usize } else { usize::MAX }
    }
}

macro_rules! real {
    ($($float:ident),*) => {$(
        impl Real for $float {
            fn of(value: f64) -> Self { value as $float }
            fn to_f64(self) -> f64 { f64::from(self) }
            fn sqrt(self) -> Self { self.sqrt() }
            fn exp(self) -> Self { self.exp() }
            fn ln(self) -> Self { self.ln() }
        }
    )*};
}
real!(f32, f64);

/// erf by its Taylor series near 0 and the continued fraction of erfc further out (Abramowitz and Stegun 7.1.5, 7.1.14).
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let tail = (1..=60).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
        1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn erf_agrees_with_published_digits() {
        for (x, y) in [
            (0.0_f64, 0.0_f64),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.5, 0.999_999_256_901_627_7),
        ] {
            assert!((Real::erf(x) - y).abs() < 1e-14, "{x}: {} {y}", Real::erf(x));
            assert!((Real::erf(-x) + y).abs() < 1e-14);
        }
    }
}
