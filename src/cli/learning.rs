//! What `demo` and `train` share: the loop with its progress, and where the GPU time of a step goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use vistok::gpu::{Executor, KernelTime};
use vistok::kernel::Elem;
use vistok::train::{Ended, Recompute, Report, Samples, Score, Settings, TrainError, Trainer};

use super::log::{Log, StepRow, Unwritten};
use super::machine::Machine;
use super::progress::Progress;
use super::table::{Align, Table};
use super::{Error, score};

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
    /// Seconds of wall time, without those of scoring.
    pub(super) seconds: f64,
    /// What the test images said after the last step, if they were asked.
    pub(super) score: Option<Score>,
}

/// A log, and the test images that are scored for it after every so many passes and the last; 0 for the last alone.
pub(super) struct Watch<'a> {
    pub(super) log: Log,
    pub(super) test: &'a dyn Samples,
    pub(super) every: u64,
    /// Whether the weights that score best are kept.
    pub(super) best: bool,
}

/// Trains to the end. `kept` says what an interrupted run leaves behind.
pub(super) fn train(
    trainer: &mut Trainer,
    images: &dyn Samples,
    (settings, stop): (&Settings, &AtomicBool),
    kept: &str,
    mut watch: Option<Watch<'_>>,
) -> Result<Course, Error> {
    let (first, steps) = (trainer.about().step, settings.steps);
    let pass = steps_of_pass(images, settings);
    let mut session =
        Session { progress: Progress::new("training", first, steps), scoring: Duration::ZERO, first, settings };
    let (mut losses, mut smooth, mut score) = (Vec::new(), None, None);
    loop {
        let mut until = steps;
        if let Some(watch) = &mut watch {
            score = session.note_pass(trainer, watch, pass)?;
            until = (trainer.about().step / pass + 1).saturating_mul(pass);
        }
        // Where a pass has no step, the trainer says why: images that fill no batch.
        if steps > 0 && trainer.about().step >= steps {
            break;
        }
        let mut unwritten = None;
        let ended = trainer.train_to(images, stop, until, |report| {
            losses.push(report.loss);
            // The mean over some twenty batches: single ones jump too much to be read.
            let mean: f32 = smooth.map_or(report.loss, |smooth| 0.95 * smooth + 0.05 * report.loss);
            smooth = Some(mean);
            session.show(report.step, mean);
            if let (Some(watch), None) = (&mut watch, &unwritten) {
                unwritten = session.log(&mut watch.log, report).err();
                // The run ends as it does when it is interrupted: with its weights on the disk, if there they can be put.
                stop.fetch_or(unwritten.is_some(), Ordering::Relaxed);
            }
        });
        if let Some(unwritten) = unwritten {
            return Err(broken(trainer, settings, unwritten));
        }
        if ended.map_err(|error| failed(trainer, error))? == Ended::Stopped {
            return Err(Error::Interrupted { done: trainer.about().step, steps, kept: kept.to_owned() });
        }
    }
    let seconds = session.seconds();
    session.progress.finish();
    Ok(Course { losses, seconds, score })
}

/// Steps of a pass over the images.
pub(super) fn steps_of_pass(images: &dyn Samples, settings: &Settings) -> u64 {
    (images.count() / settings.images_of_step().max(1)).max(1) as u64
}

/// What this process has done of a run.
struct Session<'a> {
    progress: Progress,
    scoring: Duration,
    /// Where it began.
    first: u64,
    settings: &'a Settings,
}

impl Session<'_> {
    /// Of training.
    fn seconds(&self) -> f64 {
        self.progress.elapsed().saturating_sub(self.scoring).as_secs_f64()
    }

    fn show(&self, step: u64, loss: f32) {
        let rate = (step - self.first) as f64 * self.settings.images_of_step() as f64 / self.seconds();
        self.progress.at(step, &format!("loss {loss:.3}  {rate:.0} images/s"));
    }

    fn log(&self, log: &mut Log, report: &Report) -> Result<(), Unwritten> {
        let &Report { step, epoch, loss, rate, .. } = report;
        log.step(StepRow { step, epoch: epoch + 1, loss, rate, seconds: self.seconds() })?;
        // Weights must not be of steps that the log could lose with the machine's power.
        let saved = |(_, every): &(PathBuf, u64)| step.is_multiple_of(*every) || step == self.settings.steps;
        if self.settings.checkpoint.as_ref().is_some_and(saved) { log.sync() } else { Ok(()) }
    }

    /// Scores and notes the pass that has just ended, unless that was done; also by a run that was killed in between.
    fn note_pass(
        &mut self,
        trainer: &mut Trainer,
        Watch { log, test, every, best }: &mut Watch<'_>,
        pass: u64,
    ) -> Result<Option<Score>, Error> {
        let (step, steps, seconds) = (trainer.about().step, self.settings.steps, self.seconds());
        let ended = step.is_multiple_of(pass) || step == steps;
        if !ended || !log.lacks(step) {
            return Ok(None);
        }
        let (epoch, epochs) = (step.div_ceil(pass), steps.div_ceil(pass));
        let wanted = step == steps || (*every > 0 && epoch.is_multiple_of(*every));
        let began = Instant::now();
        let score = wanted.then(|| trainer.score(*test)).transpose().map_err(|error| failed(trainer, error))?;
        self.scoring += began.elapsed();
        let number = score.as_ref().map(score::number);
        if let (Some(number), true) = (number, *best) {
            trainer.keep_best(number).map_err(|error| failed(trainer, error))?;
        }
        let noted = log.epoch(epoch, (step, seconds), number).and_then(|loss| log.sync().map(|()| loss));
        let loss = noted.map_err(|unwritten| broken(trainer, self.settings, unwritten))?;
        let said = score.as_ref().map_or_else(String::new, |score| format!(", {}", score::said(score, test.count())));
        self.progress.note(&format!("pass {epoch} of {epochs}: mean loss {loss:.3}{said}"));
        Ok(score)
    }
}

/// Why training ended, and what continues it.
fn failed(trainer: &Trainer, error: TrainError) -> Error {
    match trainer.saved() {
        // It would diverge again.
        _ if matches!(error, TrainError::Diverged { .. }) => error.into(),
        Some(_) => Error::Broken { error, remedy: "--resume continues it" },
        None => error.into(),
    }
}

/// A log that could not be written, and what is kept of its run.
fn broken(trainer: &Trainer, settings: &Settings, Unwritten { file, source }: Unwritten) -> Error {
    let kept = match (&settings.checkpoint, trainer.saved()) {
        (Some((path, _)), Some(step)) => {
            format!("{} holds the run after {step} steps; --resume continues it", path.display())
        }
        _ => "nothing of the run was saved yet".to_owned(),
    };
    Error::Unwritten { file: file.display().to_string(), source, kept }
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

/// GPU milliseconds of one step by kernel, the longest first.
pub(super) type Times = Vec<(KernelTime, f64)>;

/// The mean of some runs of a step.
pub(super) fn timed(executor: &Executor) -> Result<Times, Error> {
    let mut all = Vec::new();
    for _ in 0..TIMED {
        all.extend(executor.run_timed()?);
    }
    let means = executor.by_kernel(&all).into_iter().map(|mut time| {
        time.steps /= TIMED;
        let milliseconds = time.nanoseconds as f64 / 1e6 / TIMED as f64;
        (time, milliseconds)
    });
    Ok(means.collect())
}

/// GPU milliseconds of one training step by kernel, the longest first; `None` where the device has no timestamps.
///
/// The steps that are timed are undone: weights, averages and velocities are afterwards what they were.
pub(super) fn times(machine: &Machine, trainer: &Trainer) -> Result<Option<Times>, Error> {
    if !machine.device.has_timestamps() {
        return Ok(None);
    }
    undone(trainer, timed).map(Some)
}

/// Runs steps, after which weights, averages and velocities are what they were.
fn undone<T>(trainer: &Trainer, work: impl FnOnce(&Executor) -> Result<T, Error>) -> Result<T, Error> {
    let before = trainer.homes().snapshot()?;
    let worked = work(trainer.executor());
    trainer.homes().restore(&before)?;
    worked
}

/// How fast a run was in this process.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Images a second of wall time.
    pub(super) images: f64,
    /// Wall seconds of a step: with what the GPU waits for, checkpoints among it.
    pub(super) step: f64,
    /// GPU seconds of a step, where the device can tell and a step is one batch.
    pub(super) gpu: Option<f64>,
}

impl Pace {
    /// Of a run that has just ended; `None` where this process did no step of it. Steps that are measured are undone.
    pub(super) fn of(
        machine: &Machine,
        trainer: &Trainer,
        course: &Course,
        settings: &Settings,
    ) -> Result<Option<Self>, Error> {
        if course.losses.is_empty() {
            return Ok(None);
        }
        let step = course.seconds / course.losses.len() as f64;
        // Of micro-batches only the last would be measured.
        let gpu = match machine.device.has_timestamps() && settings.accumulate <= 1 {
            true => Some(undone(trainer, |executor| {
                let mut times = (0..TIMED).map(|_| executor.run_timed_whole()).collect::<Result<Vec<u64>, _>>()?;
                times.sort_unstable();
                Ok(times[TIMED / 2] as f64 / 1e9)
            })?),
            false => None,
        };
        Ok(Some(Self { images: settings.images_of_step() as f64 / step, step, gpu }))
    }

    /// The share of wall time in which the GPU worked on steps.
    pub(super) fn busy(&self) -> Option<f64> {
        // Two clocks, and steps that were measured one by one.
        self.gpu.map(|gpu| (gpu / self.step).min(1.0))
    }

    /// A line.
    pub(super) fn said(&self) -> String {
        let busy = self.busy().map(|busy| format!("; the GPU was busy {:.0} % of the time", 100.0 * busy));
        format!("{} images/s{}\n", in_thousands(self.images), busy.unwrap_or_default())
    }
}

/// A number with commas, whole from a hundred on.
fn in_thousands(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let comma = |(at, digit): (usize, char)| {
        let before = if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
        format!("{before}{digit}")
    };
    digits.chars().enumerate().map(comma).collect()
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

#[cfg(test)]
mod tests {
    use super::{Pace, in_thousands};

    #[test]
    fn a_pace_is_said_as_far_as_it_was_measured() {
        let pace = Pace { images: 12_345.4, step: 0.01, gpu: Some(0.0093) };
        assert_eq!(pace.said(), "12,345 images/s; the GPU was busy 93 % of the time\n");
        assert_eq!(Pace { gpu: None, ..pace }.said(), "12,345 images/s\n");
        assert_eq!(Pace { gpu: Some(0.011), ..pace }.busy(), Some(1.0));
        let numbers = [7.25, 100.0, 999.6, 1e6].map(in_thousands);
        assert_eq!(numbers, ["7.2", "100", "1,000", "1,000,000"]);
    }
}
