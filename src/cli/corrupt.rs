//! What becomes of pictures that cannot be read.

use clap::{Args, ValueEnum};
use vistok::train::{Samples, Skipping};

use super::speak;

/// Whether such a picture ends the run.
#[derive(Debug, Args)]
pub(super) struct CorruptArgument {
    /// What to do with a picture or mask that cannot be read.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Corrupt::Refuse)]
    corrupt: Corrupt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Corrupt {
    /// End the run, which can be continued, and name it.
    Refuse,
    /// Name it and go on. In training the next picture that can be read stands in for it; tried on, it does not count.
    Skip,
}

impl CorruptArgument {
    /// One ends the command.
    pub(super) const REFUSE: Self = Self { corrupt: Corrupt::Refuse };

    /// The images, with what is to be done.
    pub(super) fn applied(&self, samples: Box<dyn Samples>) -> Box<dyn Samples> {
        match self.corrupt {
            Corrupt::Refuse => samples,
            Corrupt::Skip => Box::new(Skipping::new(samples, speak::note)),
        }
    }
}

/// How many were skipped of these images, in lines.
pub(super) fn said(parts: &[(&str, &dyn Samples)]) -> String {
    let line = |(part, samples): &(&str, &dyn Samples)| match samples.skipped() {
        0 => String::new(),
        skipped => format!("{skipped} of {} {part} images could not be read and were skipped\n", samples.count()),
    };
    parts.iter().map(line).collect()
}
