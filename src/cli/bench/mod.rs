//! `vistok bench`: GPU time of ops on the shapes of real models beside the floor that the machine sets, and whole models.

mod models;
mod peer;
mod rows;

use std::path::PathBuf;

use clap::Args;
use vistok::bench::{Ceilings, Suite};

use self::peer::Peer;
use super::Error;
use super::machine::{Machine, MachineArgument};

/// Time ops on the shapes of real models, or whole models.
///
/// Suites: `ops` (every op; the default), `gemm`, `resnet50-layers` (its distinct convolutions at batch 64),
/// `memory-bound`, `vt`, and `models` (throughput and latency of whole models). The first word is a suite or else a filter.
///
/// The floor is what the op's bytes and multiply-adds take at the rates of a copy and of a large matrix product, both
/// measured in the same run, and what as many kernel calls take that have next to nothing to do. `backward N` computes the gradient of input N.
/// Runs take turns on copies of their tensors that hold more than 128 MiB
/// together, so that no cache holds what is read next. On a software adapter one small case an op is
/// run (all that match, with a filter), and counts are what to look at.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A suite: ops, gemm, resnet50-layers, memory-bound, vt or models.
    suite: Option<String>,
    /// Only what contains this: an op, a layer, f16, part of a shape; a model, training.
    filter: Option<String>,
    /// One JSON document on standard output: `rows` with `name`, `shape`, `element`, `pass`, `median_ms`, `tflops`,
    /// `gb_per_s`, `floor_ms`, one a measurement; of models `name`, `images`, `element`, `pass`, `throughput_ms` …
    #[arg(long)]
    json: bool,
    /// Print the times of this file beside ours: `rows` of the same names, shapes, elements and passes, as
    /// benches/peers/pytorch.py writes them.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgument,
}

/// What is measured.
enum Chosen {
    Suite(Suite),
    Models,
}

const MODELS: &str = "models";

/// Measures.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let peer = arguments.against.as_deref().map(Peer::read).transpose()?;
    let (chosen, filter) = arguments.chosen()?;
    match chosen {
        Chosen::Models => models::run(arguments, filter, peer.as_ref()),
        Chosen::Suite(suite) => {
            let prepared = Machine::prepare(&arguments.machine, |machine| {
                Ok(Ceilings::measure(&machine.device, &machine.pipelines)?)
            })?;
            rows::run(arguments, (suite, filter), prepared, peer.as_ref())
        }
    }
}

impl Arguments {
    fn chosen(&self) -> Result<(Chosen, Option<&str>), Error> {
        let filter = self.filter.as_deref();
        let Some(word) = self.suite.as_deref() else { return Ok((Chosen::Suite(Suite::Ops), None)) };
        if word == MODELS {
            return Ok((Chosen::Models, filter));
        }
        match (Suite::ALL.into_iter().find(|suite| suite.name() == word), filter) {
            (Some(suite), filter) => Ok((Chosen::Suite(suite), filter)),
            (None, None) => Ok((Chosen::Suite(Suite::Ops), Some(word))),
            (None, Some(_)) => {
                let known: Vec<&str> = Suite::ALL.iter().map(|suite| suite.name()).chain([MODELS]).collect();
                Err(Error::Refused(format!("no suite is called `{word}`; there are: {}", known.join(", "))))
            }
        }
    }
}

/// In place of a time; why stands below the table.
const NOT_RUN: &str = "not run";

/// What was not run, and why: a line each.
fn reasons<'a>(reasons: impl Iterator<Item = (String, &'a String)>) -> String {
    reasons.map(|(what, reason)| format!("\n{NOT_RUN}: {}: {reason}\n", what.trim_end())).collect()
}
