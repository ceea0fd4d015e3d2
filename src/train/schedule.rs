//! Learning rates: functions of the step alone, so that a resumed run continues as if it had never stopped.

/// How the learning rate moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Up in a straight line, then down to 0 along half a cosine (Loshchilov and Hutter 2017).
    Cosine {
        /// The highest rate.
        peak: f64,
        /// Steps on the way up.
        warm_up: u64,
        /// Steps in all; afterwards the rate is 0.
        steps: u64,
    },
    /// Multiplied by `factor` every so many steps.
    Decay {
        /// The first rate.
        start: f64,
        /// What it is multiplied by.
        factor: f64,
        /// Steps from one multiplication to the next.
        every: u64,
    },
    /// Up in a straight line that reaches `peak` after `steps` steps, then as `then` says, which counts steps from there.
    WarmUp {
        /// The rate of the first step.
        from: f64,
        /// Steps on the way up; 0 begins at the peak.
        steps: u64,
        /// The highest rate.
        peak: f64,
        /// How it goes on.
        then: Then,
    },
}

/// How a learning rate moves from its peak on; steps are counted from there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// It stays.
    Constant,
    /// Multiplied by `factor` every so many steps. Where these are an epoch, that is exponential decay by the epoch.
    Decay {
        /// What it is multiplied by.
        factor: f64,
        /// Steps from one multiplication to the next.
        every: u64,
    },
    /// Down to 0 along half a cosine (Loshchilov and Hutter 2017).
    Cosine {
        /// Steps on the way down; afterwards the rate is 0.
        steps: u64,
    },
}

impl Then {
    /// What the peak is multiplied by after so many steps.
    fn factor(self, after: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Decay { factor, every } => power(factor, after, every),
            Self::Cosine { steps } => half_cosine(after, steps),
        }
    }
}

/// `factor` to the power of the whole times that `every` is in `at`.
fn power(factor: f64, at: u64, every: u64) -> f64 {
    // Beyond 2^31 multiplications every factor but 1 has long reached 0 or infinity.
    factor.powi(i32::try_from(at / every.max(1)).unwrap_or(i32::MAX))
}

/// From 1 to 0 in so many steps.
fn half_cosine(at: u64, steps: u64) -> f64 {
    let share = at as f64 / steps.max(1) as f64;
    (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0
}

impl Schedule {
    /// The rate of step `at`, counted from 0.
    #[must_use]
    pub fn rate(&self, at: u64) -> f64 {
        match *self {
            Self::Cosine { peak, warm_up, .. } if at < warm_up => peak * (at + 1) as f64 / warm_up as f64,
            Self::Cosine { peak, warm_up, steps } => {
                let share = (at - warm_up) as f64 / steps.saturating_sub(warm_up).max(1) as f64;
                peak * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0
            }
            Self::Decay { start, factor, every } => start * power(factor, at, every),
            Self::WarmUp { from, steps, peak, .. } if at < steps => from + (peak - from) * at as f64 / steps as f64,
            Self::WarmUp { steps, peak, then, .. } => peak * then.factor(at - steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, Then};

    #[test]
    fn cosine_rises_falls_and_stays_down() {
        let schedule = Schedule::Cosine { peak: 0.4, warm_up: 4, steps: 104 };
        assert!((schedule.rate(0) - 0.1).abs() < 1e-12 && (schedule.rate(4) - 0.4).abs() < 1e-12);
        assert!((schedule.rate(54) - 0.2).abs() < 1e-12 && schedule.rate(104).abs() < 1e-12);
        assert_eq!(schedule.rate(104), schedule.rate(u64::MAX));
    }

    #[test]
    fn decay_falls_in_steps() {
        let schedule = Schedule::Decay { start: 0.1, factor: 0.1, every: 30 };
        assert!((schedule.rate(29) - 0.1).abs() < 1e-12 && (schedule.rate(60) - 0.001).abs() < 1e-12);
    }

    /// The published recipes (paper-facts section 4), with 626 steps an epoch.
    #[test]
    fn published_rates_are_met() {
        let epoch = 626;
        let then = Then::Decay { factor: 0.9875, every: epoch };
        let advanced = Schedule::WarmUp { from: 0.01, steps: 5 * epoch, peak: 0.16, then };
        for (at, rate) in [
            (0, 0.01),
            (epoch, 0.04),
            (5 * epoch / 2, 0.085),
            (5 * epoch, 0.16),
            (6 * epoch - 1, 0.16),
            (6 * epoch, 0.158),
            (400 * epoch, 1.112_44e-3),
        ] {
            assert!((advanced.rate(at) / rate - 1.0).abs() < 1e-5, "step {at}: {}", advanced.rate(at));
        }
        let then = Then::Decay { factor: 0.1, every: 30 * epoch };
        let default = Schedule::WarmUp { from: 0.1, steps: 0, peak: 0.1, then };
        for (at, rate) in [(0, 0.1), (30 * epoch - 1, 0.1), (30 * epoch, 0.01), (90 * epoch - 1, 0.001)] {
            assert!((default.rate(at) / rate - 1.0).abs() < 1e-12, "step {at}: {}", default.rate(at));
        }
    }

    #[test]
    fn a_rate_stays_or_falls_to_0_after_its_warm_up() {
        let warm = |then| Schedule::WarmUp { from: 0.1, steps: 10, peak: 0.5, then };
        let [constant, cosine] = [Then::Constant, Then::Cosine { steps: 20 }].map(warm);
        assert_eq!([constant.rate(10), constant.rate(u64::MAX)], [0.5, 0.5]);
        assert!((constant.rate(5) - 0.3).abs() < 1e-12 && (cosine.rate(20) - 0.25).abs() < 1e-12);
        assert_eq!([cosine.rate(10), cosine.rate(30), cosine.rate(u64::MAX)], [0.5, 0.0, 0.0]);
    }

    /// Checkpoints note it so, and runs of before there were other schedules go on bit for bit.
    #[test]
    fn cosines_are_said_and_computed_as_ever() {
        let schedule = Schedule::Cosine { peak: 0.05, warm_up: 50, steps: 800 };
        assert_eq!(format!("{schedule:?}"), "Cosine { peak: 0.05, warm_up: 50, steps: 800 }");
        for at in [0, 49, 50, 51, 333, 799, 800] {
            let share: f64 = (at as f64 - 50.0) / 750.0;
            let down = 0.05 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0;
            let expected = if at < 50 { 0.05 * (at + 1) as f64 / 50.0 } else { down };
            assert_eq!(schedule.rate(at).to_bits(), expected.to_bits(), "step {at}");
        }
    }
}
