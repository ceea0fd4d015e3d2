//! Warm, interleaved timing: every candidate once a round, so that a clock that moves moves for all.

use std::fmt::Write;
use std::time::{Duration, Instant};

use vistok::gpu::Error;

use crate::candidate::Candidate;

/// Real work before the first measurement: the card idles while pipelines compile, and its clock rises slowly.
const WARM_UP: Duration = Duration::from_millis(500);
/// What one measurement should take.
const MEASUREMENT: Duration = Duration::from_millis(20);

/// Seconds of one run, for each candidate, each round.
pub(crate) fn interleaved(candidates: &[Candidate<'_>], rounds: usize) -> Result<Vec<Vec<f64>>, Error> {
    let start = Instant::now();
    while start.elapsed() < WARM_UP && !candidates.is_empty() {
        for candidate in candidates {
            seconds(candidate, 4)?;
        }
    }
    let mut turns = Vec::new();
    for candidate in candidates {
        let once = seconds(candidate, 4)?.max(1e-7);
        turns.push(((MEASUREMENT.as_secs_f64() / once).ceil() as usize).clamp(1, 20_000));
    }
    let mut times = vec![Vec::with_capacity(rounds); candidates.len()];
    for _ in 0..rounds {
        for (at, candidate) in candidates.iter().enumerate() {
            times[at].push(seconds(candidate, turns[at])?);
        }
    }
    Ok(times)
}

/// Seconds of one run when `turns` follow each other: by the GPU's clock, or by ours where it has none.
fn seconds(candidate: &Candidate<'_>, turns: usize) -> Result<f64, Error> {
    let total = match candidate.bare.time(turns)? {
        Some(time) => time,
        None => {
            let start = Instant::now();
            candidate.bare.run(turns)?;
            start.elapsed()
        }
    };
    Ok(total.as_secs_f64() / turns as f64)
}

/// Prints one line a candidate, and writes one JSON object a line to `json`.
pub(crate) fn report(candidates: &[Candidate<'_>], times: &[Vec<f64>], json: Option<&str>) -> Result<(), String> {
    println!("{:<42} {:<30} {:>4} {:>11} {:>11} {:>9}", "name", "shape", "", "median_us", "min_us", "TFLOP/s");
    let mut lines = String::new();
    for (candidate, times) in candidates.iter().zip(times) {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        let (median, least) = (times[times.len() / 2], times[0]);
        let (median_us, min_us, tflops) = (median * 1e6, least * 1e6, candidate.flops / median / 1e12);
        let Candidate { name, shape, elem, .. } = candidate;
        println!("{name:<42} {shape:<30} {elem:>4} {median_us:>11.2} {min_us:>11.2} {tflops:>9.1}");
        let _ = writeln!(
            lines,
            r#"{{"name": "{name}", "shape": "{shape}", "elem": "{elem}", "median_us": {median_us:.3}, "min_us": {min_us:.3}, "tflops": {tflops:.3}}}"#
        );
    }
    match json {
        None => Ok(()),
        Some(file) => std::fs::write(file, lines).map_err(|error| format!("cannot write {file}: {error}")),
    }
}
