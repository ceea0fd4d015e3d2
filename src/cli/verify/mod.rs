//! `vistok verify`: is what this machine computes right?

mod case;
mod kernels;
mod model;
mod programs;
mod report;

use std::path::PathBuf;

use clap::Args;

use super::{AdapterArgument, Error};

/// Compare every kernel with its maths: forward and backward, f32 and f16, each engine, runtime checks on and off.
///
/// Without --quick or --full: every small case, and the ways of cutting a matrix product that no small case would get.
/// Outputs are poisoned first, guards stand behind every tensor, and each run is repeated and must give the same bits.
/// What this adapter cannot run is listed as not run, with the reason. The exit status is 0 only where something was
/// compared and nothing failed.
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
    /// Replay what another framework computed instead: a case file, or every one in a folder. The format stands in
    /// `tests/oracle/README.md`.
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["filter", "quick", "full", "model", "programs", "program"])]
    case: Option<PathBuf>,
    /// One JSON document on standard output: `adapter`, `driver`, `limits`, `features`, then for kernels and case files
    /// `passed`, `failed`, `not_run` and `rows` with `op`, `case`, `status`, `error`, `allowed` and more; for a model `ok`,
    /// `failed`, `outputs`, `first_divergent_step`; for programs `passed`, `failed`, `skipped`, `failures`.
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
    match (&arguments.model.model, &arguments.case) {
        (Some(name), _) => model::run(name, arguments),
        (_, Some(path)) => case::run(arguments, path),
        _ => kernels::run(arguments),
    }
}
