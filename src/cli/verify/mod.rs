//! `vistok verify`: is what this machine computes right?

mod kernels;
mod model;
mod programs;
mod trial;

use clap::Args;

use super::{AdapterArgument, Error};

/// Compare every kernel with its maths: forward and backward, f32 and f16, each engine, runtime checks on and off.
///
/// Outputs are poisoned first, guards stand around every tensor, and each run is repeated and must give the same bits.
/// What this adapter cannot run is listed as not run, with the reason. The exit status is 0 only where all passed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only what contains this: an op, a kernel, f16, cooperative, part of a case.
    filter: Option<String>,
    /// A few cases of every kernel.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The shapes of real models as well; takes long, since the CPU computes them too.
    #[arg(long)]
    full: bool,
    /// One JSON document on standard output: `passed`, `failed`, `not_run`, and `rows` with `op`, `kernel`, `engine`,
    /// `element`, `case`, `status`, `error`, `allowed`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: model::Options,
    #[command(flatten)]
    programs: programs::Options,
    /// Where random programs come from; for a model, its images, labels and weights.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "seeded")]
    seed: u64,
    #[command(flatten)]
    adapter: AdapterArgument,
}

/// Compares.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    if arguments.programs.are_asked_for() {
        return programs::run(arguments);
    }
    match &arguments.model.model {
        Some(name) => model::run(name, arguments),
        None => kernels::run(arguments),
    }
}
