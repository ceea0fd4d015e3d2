//! Ctrl-c: the step that runs is finished and the run ends by its own rules; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::speak;

static STOP: AtomicBool = AtomicBool::new(false);

/// A flag that ctrl-c sets.
pub(crate) fn stop_flag() -> &'static AtomicBool {
    let handled = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            // By convention 128 and the number of SIGINT.
            std::process::exit(130);
        }
        speak::note("\nvistok: stopping after this step; ctrl-c again ends at once");
    });
    if let Err(error) = handled {
        speak::note(&format!("vistok: ctrl-c will end the run at once: {error}"));
    }
    &STOP
}
