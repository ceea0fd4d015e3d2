//! The command line: one file a subcommand, results on standard output, everything else on standard error.
//!
//! **Absent here**: anything that somebody who links the library would want; this room only asks and prints.

mod bench;
mod classify;
mod compare;
mod corrupt;
mod demo;
mod devices;
mod error;
mod eval;
mod folder;
mod interrupt;
mod learning;
mod log;
mod machine;
mod model;
mod optimizer;
mod options;
#[cfg(feature = "plot")]
mod picture;
mod plan;
#[cfg(feature = "plot")]
mod plot;
mod png;
mod presets;
mod profile;
mod progress;
mod recipe;
#[cfg(feature = "plot")]
mod report;
mod result;
mod scenes;
mod score;
mod segment;
mod shown;
mod sight;
mod speak;
mod subject;
mod table;
mod teach;
mod tokens;
mod train;
mod tune;
mod verify;
mod weights;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use error::Error;

/// Hand-written WGSL kernels for Visual Transformers, forward and backward, on any GPU that wgpu reaches.
#[derive(Debug, Parser)]
#[command(name = "vistok", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Devices(devices::Arguments),
    Demo(demo::Arguments),
    Train(Box<train::Arguments>),
    Eval(eval::Arguments),
    Teach(teach::Arguments),
    Classify(classify::Arguments),
    Segment(segment::Arguments),
    Tokens(tokens::Arguments),
    Weights(weights::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Compare(compare::Arguments),
    Model(model::Arguments),
    Plan(plan::Arguments),
    #[cfg(feature = "plot")]
    Plot(plot::Arguments),
    #[cfg(feature = "plot")]
    Report(report::Arguments),
    Profile(profile::Arguments),
    Tune(tune::Arguments),
}

/// Which adapter computes.
#[derive(Debug, Args)]
struct AdapterArgument {
    /// Part of an adapter's name, or its number in `vistok devices` [default: the first one].
    #[arg(long, value_name = "NAME|NUMBER")]
    adapter: Option<String>,
}

/// Runs what the process's arguments ask for.
pub(crate) fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Teach(arguments) => teach::run(&arguments),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Tokens(arguments) => tokens::run(&arguments),
        Command::Weights(arguments) => weights::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        #[cfg(feature = "plot")]
        Command::Plot(arguments) => plot::run(&arguments),
        #[cfg(feature = "plot")]
        Command::Report(arguments) => report::run(&arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            speak::note(&format!("vistok: {}", error::one_line(&error)));
            ExitCode::FAILURE
        }
    }
}
