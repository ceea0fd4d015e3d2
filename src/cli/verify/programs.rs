//! `vistok verify --programs`: random programs of our ops, checked in every way that we know, shrunk where they fail.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::ops::{self, Reshape};
use vistok::verify::programs::{Campaign, Failure, Finding, Kind, Limits, Machine, Outcome, Pool, Program};

use super::{Arguments, report};
use crate::cli::progress::Progress;
use crate::cli::{Error, speak};

/// Bytes of a program's text beyond which it is none.
const MOST: u64 = 1 << 20;

/// Which programs.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Options {
    /// Instead of single kernels, draw so many random programs of all ops: gradients against derivatives, every node
    /// against its maths, memory reused against kept, ops against the smaller ones that they are made of. What fails
    /// is shrunk to a few nodes and printed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), group = "seeded", conflicts_with_all = ["filter", "quick", "full", "program"])]
    programs: Option<u64>,
    /// Replay a program that was printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filter", "quick", "full", "model"])]
    program: Option<PathBuf>,
}

impl Options {
    /// Whether programs are drawn or replayed, and not kernels tried.
    pub(super) fn are_asked_for(&self) -> bool {
        self.programs.is_some() || self.program.is_some()
    }
}

/// A program that failed.
struct Failed {
    number: Option<u64>,
    failure: Failure,
    program: Program,
    drawn: Program,
}

/// How programs fared.
#[derive(Default)]
struct Tally {
    passed: u64,
    /// Passed, but for a derivative that kinks left nothing to say about.
    kinked: u64,
    skipped: u64,
    nodes: usize,
    failed: Vec<Failed>,
    /// Why programs were skipped.
    reason: Option<String>,
}

impl Tally {
    fn add(&mut self, number: Option<u64>, finding: Finding) {
        match finding.outcome {
            Outcome::Untamed => self.skipped += 1,
            Outcome::Passed { kinked, ran, .. } => {
                self.passed += 1;
                self.kinked += u64::from(kinked);
                self.nodes += ran;
            }
            Outcome::Failed(failure) => {
                let drawn = finding.program;
                let (program, failure) = finding.shrunk.unwrap_or_else(|| (drawn.clone(), failure));
                self.failed.push(Failed { number, failure, program, drawn });
            }
        }
    }
}

/// Draws, or replays, and compares.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let pool = Pool::new(ops::cases(), |shape| Arc::new(Reshape { shape }));
    // Before a device is opened: a file that cannot be read needs none.
    let replayed = arguments.programs.program.as_deref().map(|path| read(&pool, path)).transpose()?;
    let opened = open(arguments.adapter.adapter.as_deref())?;
    let machines: Vec<Machine<'_>> = opened.iter().map(|(device, pipelines)| Machine { device, pipelines }).collect();
    let device = &opened[0].0;
    let machine = report::Machine::of(device);
    machine.note();
    let f16 = device.capabilities().f16;
    let limits = Limits { f16, ..Limits::default() };
    let seed = arguments.seed;
    let campaign = Campaign { pool: &pool, machines: &machines, limits, seed };
    let (tally, programs) = match replayed {
        Some(program) => (replay(&campaign, program), 1),
        None => {
            let programs = arguments.programs.programs.unwrap_or_default();
            (draw(&campaign, programs), programs)
        }
    };
    let drawn = arguments.programs.program.is_none().then_some(seed);
    let omitted = if f16 || drawn.is_none() { "" } else { "not drawn: f16, which the adapter has not\n" };
    speak::report(arguments.json, &[&machine.text(), &text(&tally, drawn), omitted].concat())?;
    if arguments.json {
        speak::say_json(&machine.with(document(&tally, programs, drawn)))?;
    }
    match (tally.passed, tally.failed.len()) {
        (_, failed @ 1..) => Err(Error::Failed { failed, compared: programs as usize }),
        (0, 0) => Err(Error::Nothing { reason: tally.reason.unwrap_or_else(|| "its numbers are untamed".to_owned()) }),
        _ => Ok(()),
    }
}

/// The adapter with all that it has, and without cooperative matrices where it has those.
fn open(adapter: Option<&str>) -> Result<Vec<(Device, Pipelines)>, Error> {
    let open = |scalar: bool| -> Result<(Device, Pipelines), Error> {
        let adapter = adapter.map(str::to_owned);
        let device = Device::open(&OpenOptions { adapter, scalar, ..OpenOptions::default() })?;
        let pipelines = Pipelines::new(&device, None);
        Ok((device, pipelines))
    };
    let first = open(false)?;
    let cooperative = first.0.capabilities().fragment.is_some();
    let second = cooperative.then(|| open(true)).transpose()?;
    Ok(std::iter::once(first).chain(second).collect())
}

fn read(pool: &Pool, path: &Path) -> Result<Program, Error> {
    let name = || path.display().to_string();
    let file = |source| Error::File { path: name(), source, remedy: "give the file of a program that was printed" };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text)).map_err(file)?;
    if text.len() as u64 > MOST {
        return Err(Error::Refused(format!("{}: is larger than any program", name())));
    }
    pool.read(&text).map_err(|error| Error::Refused(format!("{}: {error}", name())))
}

fn replay(campaign: &Campaign<'_>, program: Program) -> Tally {
    let mut tally = Tally::default();
    let outcome = campaign.check(&program);
    tally.add(None, Finding { program, outcome, shrunk: None });
    tally
}

fn draw(campaign: &Campaign<'_>, programs: u64) -> Tally {
    let progress = Progress::new("programs", 0, programs);
    // After a device is lost there is nothing more to learn from it.
    let lost: OnceLock<String> = OnceLock::new();
    let one = |number: u64| {
        if lost.get().is_some() {
            return (number, None);
        }
        let finding = campaign.run(number);
        let ended = match finding.as_ref().map(|finding| &finding.outcome) {
            Some(Outcome::Failed(failure)) => {
                if failure.kind == Kind::Machine {
                    let _ = lost.set(failure.text.clone());
                }
                "failed"
            }
            Some(Outcome::Passed { .. }) => "passed",
            Some(Outcome::Untamed) | None => "skipped",
        };
        progress.advance(&format!("program {number} {ended}"));
        (number, finding)
    };
    let findings: Vec<(u64, Option<Finding>)> = (0..programs).into_par_iter().map(one).collect();
    progress.finish();
    let mut tally = Tally::default();
    for (number, finding) in findings {
        match finding {
            Some(finding) => tally.add(Some(number), finding),
            None => tally.skipped += 1,
        }
    }
    tally.reason = lost.into_inner().map(|reason| format!("the machine failed before ({reason})"));
    tally
}

fn text(tally: &Tally, seed: Option<u64>) -> String {
    let failed = tally.failed.iter().map(|failed| {
        let (Some(number), Some(seed)) = (failed.number, seed) else {
            return format!("\nFAILED the program, {}\n", failed.failure);
        };
        let which = format!("program {number} of seed {seed}");
        let size = format!("{} of {} nodes", failed.program.nodes(), failed.drawn.nodes());
        format!(
            "\nFAILED {which}, {}\n\n# shrunk to {size}\n{}\nKeep it as a file: `vistok verify --program FILE` replays it, and the tests whatever is in tests/random_programs/regressions.\n",
            failed.failure, failed.program
        )
    });
    let mut text: String = failed.collect();
    let Tally { passed, kinked, skipped, nodes, .. } = tally;
    let count = tally.failed.len();
    text += &format!("\n{passed} passed, {count} failed, {skipped} skipped; {nodes} nodes ran\n");
    if *kinked > 0 {
        text += &format!("{kinked} passed without their gradients: at kinks there is no derivative to compare with\n");
    }
    if let Some(reason) = &tally.reason {
        text += &format!("skipped: {reason}\n");
    }
    text
}

fn document(tally: &Tally, programs: u64, seed: Option<u64>) -> Value {
    let failures = tally.failed.iter().map(|failed| {
        json!({
            "number": failed.number,
            "kind": format!("{:?}", failed.failure.kind).to_lowercase(),
            "op": failed.failure.op,
            "reason": failed.failure.text,
            "program": failed.program.to_string(),
            "drawn": failed.drawn.to_string(),
        })
    });
    json!({
        "seed": seed,
        "programs": programs,
        "nodes": tally.nodes,
        "passed": tally.passed,
        "failed": tally.failed.len(),
        "skipped": tally.skipped,
        "without_derivative": tally.kinked,
        "failures": failures.collect::<Vec<Value>>(),
    })
}
