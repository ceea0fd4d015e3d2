//! `vistok verify`: is what this machine computes right?

mod kernels;
mod report;

use clap::Args;

use super::{AdapterArgument, Error};

/// Compare every kernel with its maths: forward and backward, f32 and f16, each engine, runtime checks on and off.
///
/// Without --quick or --full: every small case, and the ways of cutting a matrix product that no small case would get.
/// Outputs are poisoned first, guards stand around every tensor, and each run is repeated and must give the same bits.
/// What this adapter cannot run is listed as not run, with the reason. The exit status is 0 only where all passed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only what contains all of these words: an op, a kernel, f16, cooperative, checked, tiles, a model, part of a case.
    filter: Option<String>,
    /// A few cases of every kernel: under a minute on a GPU.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The shapes of real models as well, and every way of cutting every product; takes long, since the CPU computes
    /// them too, and some 10 GB of its memory.
    #[arg(long)]
    full: bool,
    /// One JSON document on standard output: `passed`, `failed`, `not_run`, and `rows` with `op`, `kernel`, `engine`,
    /// `element`, `case`, `status`, `error`, `allowed`, `worst`; beside them `adapter`, `driver`, `limits`, `features`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    adapter: AdapterArgument,
}

/// Compares.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    kernels::run(arguments)
}
