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
            Self::Decay { start, factor, every } => {
                // Beyond 2^31 multiplications every factor but 1 has long reached 0 or infinity.
                start * factor.powi(i32::try_from(at / every.max(1)).unwrap_or(i32::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

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
}
