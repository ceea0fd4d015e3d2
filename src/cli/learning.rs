//! What `demo` and `train` share: the loop with its progress, and where the GPU time of a step goes.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;
use vistok::gpu::KernelTime;
use vistok::kernel::Elem;
use vistok::train::{Ended, Recompute, Samples, Settings, Trainer};

use super::Error;
use super::machine::Machine;
use super::progress::Progress;
use super::table::{Align, Table};

/// Timed steps whose mean is reported.
const TIMED: usize = 3;

/// Which blocks are made again.
#[derive(Debug, Args)]
pub(super) struct RecomputeArgument {
    /// Blocks whose values are made again for the backward pass instead of being kept, with commas between: less memory,
    /// more time, the same bits. `stage3/block1`, or `stage3` for each of its blocks, or `all`.
    #[arg(long, value_name = "BLOCKS", default_value = "", hide_default_value = true)]
    recompute: String,
}

impl RecomputeArgument {
    /// What the argument says.
    pub(super) fn get(&self) -> Recompute {
        let Ok(recompute) = self.recompute.parse();
        if self.recompute.is_empty() { Recompute::Nothing } else { recompute }
    }
}

/// How a run went.
pub(super) struct Course {
    /// The loss of every step of this run.
    pub(super) losses: Vec<f32>,
    /// Seconds of wall time.
    pub(super) seconds: f64,
}

/// Trains to the end. `kept` says what an interrupted run leaves behind.
pub(super) fn train(
    trainer: &mut Trainer,
    images: &dyn Samples,
    (settings, stop): (&Settings, &AtomicBool),
    kept: &str,
) -> Result<Course, Error> {
    let first = trainer.about().step;
    let (steps, batch) = (settings.steps, settings.batch as f64);
    let progress = Progress::new("training", first, steps);
    let mut losses = Vec::new();
    let mut smooth = None;
    let ended = trainer.train(images, stop, |report| {
        losses.push(report.loss);
        // The mean over some twenty batches: single ones jump too much to be read.
        let mean: f32 = smooth.map_or(report.loss, |smooth| 0.95 * smooth + 0.05 * report.loss);
        smooth = Some(mean);
        let rate = (report.step - first) as f64 * batch / progress.elapsed().as_secs_f64();
        progress.at(report.step, &format!("loss {mean:.3}  {rate:.0} images/s"));
    });
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish();
    let ended = ended.map_err(|error| match trainer.saved() {
        Some(_) => Error::Broken { error, remedy: "--resume continues it" },
        None => error.into(),
    })?;
    match ended {
        Ended::Done => Ok(Course { losses, seconds }),
        Ended::Stopped => Err(Error::Interrupted { done: trainer.about().step, steps, kept: kept.to_owned() }),
    }
}

/// What is kept of an interrupted run that saves checkpoints.
pub(super) fn kept(file: &Path, each: &str) -> String {
    format!("{} holds the run so far: {each} continues it", file.display())
}

/// What training holds images and activations in.
pub(super) const fn elem(f16: bool) -> Elem {
    if f16 { Elem::F16 } else { Elem::F32 }
}

/// What became of the loss's scale, where it has one.
pub(super) fn scaling(trainer: &Trainer) -> Result<String, Error> {
    let Some((scale, skipped)) = trainer.loss_scale()? else { return Ok(String::new()) };
    Ok(format!("Mixed precision: {skipped} steps were skipped, the loss is scaled by {scale} now\n"))
}

/// GPU milliseconds of one training step by kernel, the longest first; `None` where the device has no timestamps.
///
/// The steps that are timed are undone: weights, averages and velocities are afterwards what they were.
pub(super) fn times(machine: &Machine, trainer: &Trainer) -> Result<Option<Vec<(KernelTime, f64)>>, Error> {
    if !machine.device.has_timestamps() {
        return Ok(None);
    }
    let executor = trainer.executor();
    let before = trainer.homes().snapshot()?;
    let mut all = Vec::new();
    for _ in 0..TIMED {
        all.extend(executor.run_timed()?);
    }
    trainer.homes().restore(&before)?;
    let sums = executor.by_kernel(&all).into_iter().map(|mut time| {
        time.steps /= TIMED;
        let milliseconds = time.nanoseconds as f64 / 1e6 / TIMED as f64;
        (time, milliseconds)
    });
    Ok(Some(sums.collect()))
}

/// Times as a table.
pub(super) fn time_table(times: &[(KernelTime, f64)]) -> String {
    let columns =
        [("kernel", Align::Left), ("dispatches", Align::Right), ("GPU ms", Align::Right), ("share", Align::Right)];
    let mut table = Table::new(&columns);
    let total: f64 = times.iter().map(|(_, milliseconds)| milliseconds).sum();
    for (time, milliseconds) in times {
        let share = 100.0 * milliseconds / total.max(f64::MIN_POSITIVE);
        let cells = [format!("{}", time.steps), format!("{milliseconds:.2}"), format!("{share:.1} %")];
        table.row([&[time.kernel.to_owned()][..], &cells].concat());
    }
    let steps: usize = times.iter().map(|(time, _)| time.steps).sum();
    table.row(vec!["all".to_owned(), steps.to_string(), format!("{total:.2}"), "100.0 %".to_owned()]);
    table.text()
}
