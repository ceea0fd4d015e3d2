//! Who is fastest? All run in turns, and who falls behind is out.

use std::time::Duration;

use super::search::Clock;
use crate::gpu::{Bare, Error};
use crate::kernel::tuning::gemm::Tiles;

/// Rounds in which all that are left take turns.
const ROUNDS: usize = 7;
/// Rounds that whoever is chosen has run at least, whatever the time.
const LEAST_ROUNDS: usize = 3;
/// A sample lasts at least this long; those of the first round, in which the hopeless are found, only this.
const SAMPLE: Duration = Duration::from_millis(2);
const FIRST_SAMPLE: Duration = Duration::from_millis(1);
/// The most runs of a sample.
const MOST_RUNS: usize = 1_000;
/// Who takes this many times as long as the fastest in the first round is out, and who does after some more.
const HOPELESS: f64 = 1.5;
const BEHIND: f64 = 1.1;
/// The GPU's time for the rounds of one product.
const BUDGET: Duration = Duration::from_millis(300);
/// How long the GPU works before anything is timed: builds and proofs leave it idle, and its clock low.
const WARM_UP: Duration = Duration::from_millis(50);
/// Samples of it at most, whatever the clock says.
const MOST_WARMING: usize = 50;

/// A way that is timed: `None` is the usual one.
pub(super) struct Racer<'a> {
    pub(super) tiles: Option<Tiles>,
    pub(super) bare: Bare<'a>,
    runs: usize,
    /// Of a run, in each round that it took part in; it is out after the last.
    times: Vec<Duration>,
    state: State,
}

enum State {
    Running,
    Behind,
    Failed(String),
}

impl<'a> Racer<'a> {
    pub(super) fn new(tiles: Option<Tiles>, bare: Bare<'a>) -> Self {
        Self { tiles, bare, runs: 1, times: Vec::with_capacity(ROUNDS), state: State::Running }
    }

    /// The time of a run: the median of those in the first so many rounds.
    pub(super) fn median(&self, rounds: usize) -> Option<Duration> {
        let mut times = self.times[..rounds.min(self.times.len())].to_vec();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// How many times as fast as the usual way it is, by the rounds that it took part in; or what failed.
    pub(super) fn speed(&self, usual: &Self) -> Result<f64, String> {
        if let State::Failed(reason) = &self.state {
            return Err(reason.clone());
        }
        let rounds = self.times.len();
        let [own, usual] =
            [self.median(rounds), usual.median(rounds)].map(|time| time.unwrap_or_default().as_secs_f64());
        Ok(usual / own.max(1e-12))
    }

    /// What failed.
    pub(super) fn failure(&self) -> Option<&str> {
        if let State::Failed(reason) = &self.state { Some(reason) } else { None }
    }

    fn runs_on(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Time of a sample and of a run; the next sample will last as long as this one should have.
    fn sample(&mut self, clock: Clock<'_>, least: Duration) -> Result<Option<[Duration; 2]>, Error> {
        match clock(&self.bare, self.tiles, self.runs) {
            Ok(all) => {
                let each = all / u32::try_from(self.runs).unwrap_or(1);
                let runs = least.as_nanos().div_ceil(each.as_nanos().max(1));
                self.runs = usize::try_from(runs).unwrap_or(MOST_RUNS).clamp(1, MOST_RUNS);
                Ok(Some([all, each]))
            }
            Err(error @ Error::Lost { .. }) => Err(error),
            Err(error) => {
                self.state = State::Failed(error.to_string());
                Ok(None)
            }
        }
    }
}

/// Times all of them in turns; the first is the usual way, with which all are compared and which is never out.
///
/// # Errors
/// When the device is lost.
pub(super) fn race(racers: &mut [Racer<'_>], clock: Clock<'_>) -> Result<(), Error> {
    // The first run pays for what a driver puts off, and says how many runs a sample needs.
    for racer in racers.iter_mut() {
        racer.sample(clock, FIRST_SAMPLE)?;
    }
    warm_up(racers, clock)?;
    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS {
        if spent >= BUDGET && round >= LEAST_ROUNDS {
            break;
        }
        // Who is first changes from round to round.
        let mut order: Vec<usize> = (0..racers.len()).filter(|&at| racers[at].runs_on()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        if racers.first().is_none_or(|usual| !usual.runs_on()) || order.len() < 2 {
            break;
        }
        for at in order {
            if let Some([all, each]) = racers[at].sample(clock, SAMPLE)? {
                spent += all;
                racers[at].times.push(each);
            }
        }
        drop_slow(racers, if round == 0 { HOPELESS } else { BEHIND }, round);
    }
    Ok(())
}

/// Has the GPU work until its clock is up.
fn warm_up(racers: &mut [Racer<'_>], clock: Clock<'_>) -> Result<(), Error> {
    let Some(usual) = racers.first_mut() else { return Ok(()) };
    let mut worked = Duration::ZERO;
    for _ in 0..MOST_WARMING {
        if worked >= WARM_UP {
            break;
        }
        let Some([all, _]) = usual.sample(clock, SAMPLE)? else { break };
        worked += all;
    }
    Ok(())
}

/// Who takes so many times as long as the fastest is out, but for the usual way. After the second round nobody is: one
/// sample says little of those that are near.
fn drop_slow(racers: &mut [Racer<'_>], times: f64, round: usize) {
    if round == 1 {
        return;
    }
    let running = racers.iter().filter(|racer| racer.runs_on());
    let Some(best) = running.filter_map(|racer| racer.median(ROUNDS)).min() else { return };
    for racer in racers.iter_mut().skip(1).filter(|racer| racer.runs_on()) {
        if racer.median(ROUNDS).is_some_and(|time| time.as_secs_f64() > times * best.as_secs_f64()) {
            racer.state = State::Behind;
        }
    }
}
