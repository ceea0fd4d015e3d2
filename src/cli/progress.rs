//! How far a long command has come: a bar on a terminal, a line now and then elsewhere. On standard error.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::speak;

/// Time between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Progress of so many steps.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    began: Instant,
    /// When the last plain line was printed; `None` on a terminal.
    last: Option<Mutex<Instant>>,
}

impl Progress {
    /// Starts at `done` of `steps`.
    pub(crate) fn new(what: &'static str, done: u64, steps: u64) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = "{prefix} {bar:32.cyan/blue} {pos}/{len}  {msg}  {eta_precise} left";
        // The template is a constant: were it wrong, the plain bar would do.
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what);
        bar.set_position(done);
        bar.reset_eta();
        let began = Instant::now();
        Self { bar, what, began, last: (!terminal).then(|| Mutex::new(began)) }
    }

    /// Says that `done` steps are done, with a word about the last.
    pub(crate) fn at(&self, done: u64, message: &str) {
        self.bar.set_position(done);
        self.tell(message);
    }

    /// One more step is done.
    pub(crate) fn advance(&self, message: &str) {
        self.bar.inc(1);
        self.tell(message);
    }

    fn tell(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        let Some(last) = &self.last else { return };
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (done, steps) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if last.elapsed() < EVERY && done < steps {
            return;
        }
        *last = Instant::now();
        let left = self.bar.eta().as_secs();
        speak::note(&format!("{} {done}/{steps}  {message}  {}:{:02} left", self.what, left / 60, left % 60));
    }

    /// A line that stays.
    pub(crate) fn note(&self, line: &str) {
        self.bar.suspend(|| speak::note(line));
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes the bar away, for what is printed next.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    /// An error, too, has a line of its own.
    fn drop(&mut self) {
        self.finish();
    }
}
