//! `vistok plot`: how runs went, as curves.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use vistok::train::files::replace;

use super::log::{Run, RunArgument};
use super::{Error, picture, speak};

/// Draw loss, score and learning rate of one or several runs that `vistok train` has logged.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folders of runs, at most seven, each called as its folder is, or as NAME says.
    #[arg(required = true, value_name = "[NAME=]RUN", value_parser = RunArgument::parse)]
    runs: Vec<RunArgument>,
    /// The SVG file that is written.
    #[arg(long, value_name = "FILE", default_value = "runs.svg")]
    out: PathBuf,
    /// What lies along the axis: steps, or passes over the training images.
    #[arg(long, value_enum, default_value_t = By::Step)]
    by: By,
    /// One JSON document on standard output: `written`, and of each of the `runs` its `name`, `steps`, and `scores` by pass.
    #[arg(long)]
    json: bool,
}

/// What lies along the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Step,
    Epoch,
}

/// Reads and draws.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let runs = Run::open_all(&arguments.runs)?;
    let svg = picture::run_curves(&runs, arguments.by)?;
    let written = arguments.out.display().to_string();
    replace(&arguments.out, svg.as_bytes()).map_err(|source| {
        let remedy = "--out must name a file in a folder that you may write to";
        Error::File { path: written.clone(), source, remedy }
    })?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    speak::report(arguments.json, &format!("{written}: {}\n", names.join(", ")))?;
    if arguments.json {
        let told = runs.iter().map(|run| {
            let scores: Vec<_> = run.epochs.iter().map(|row| row.score).collect();
            json!({ "name": run.name, "steps": run.steps.last().map(|row| row.step), "scores": scores })
        });
        speak::say_json(&json!({ "written": written, "runs": told.collect::<Vec<_>>() }))?;
    }
    Ok(())
}
