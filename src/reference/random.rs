//! Numbers that look random and are the same on every machine.

/// A small generator (SplitMix64, Steele et al. 2014): one word of state, equal streams for equal seeds.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// What a word of the stream adds to the state.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// A stream for a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream for a seed and a name, so that adding a tensor does not move the others' numbers.
    #[must_use]
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a, then one step of the generator.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Self(Self(seed ^ hash).bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Leaves out `count` words of 64 bits: the state is a sum, so any place of the stream is as near as the next.
    pub const fn skip(&mut self, count: u64) {
        self.0 = self.0.wrapping_add(count.wrapping_mul(STEP));
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..limit, for limits far below 2^53.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.uniform() * limit as f64) as usize
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn skipping_is_drawing() {
        let (mut drawn, mut skipped) = (Random::new(7), Random::new(7));
        for _ in 0..10 {
            drawn.bits();
        }
        skipped.skip(10);
        assert_eq!(drawn.bits(), skipped.bits());
    }
}
