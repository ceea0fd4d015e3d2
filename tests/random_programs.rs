//! Random programs of our ops: gradients against derivatives, kernels against maths, memory reused or not, ops against
//! the smaller ones that they are made of. Programs that once failed are kept in `random_programs/regressions` and replayed.
//!
//! `RANDOM_PROGRAMS=2000` draws more of them, `RANDOM_PROGRAMS_SEED=7` others. Without an adapter they are checked on
//! paper only; with `REQUIRE_GPU=1` they fail.

#[path = "random_programs/planted.rs"]
mod planted;
#[path = "random_programs/variety.rs"]
mod variety;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::ops::{self, Reshape};
use vistok::verify::programs::{Campaign, Limits, Machine, Outcome, Pool};

/// How many programs every run of the tests draws.
const FEW: u64 = 50;

struct Bench {
    pool: Pool,
    /// The adapter, with cooperative matrices where it has them, and then without.
    opened: Result<Vec<(Device, Pipelines)>, String>,
}

impl Bench {
    fn check<T>(&self, pool: &Pool, seed: u64, check: impl FnOnce(&Campaign<'_>) -> T) -> T {
        let opened = self.opened.iter().flatten();
        let machines: Vec<Machine<'_>> = opened.map(|(device, pipelines)| Machine { device, pipelines }).collect();
        let f16 = machines.first().is_none_or(|machine| machine.device.capabilities().f16);
        check(&Campaign { pool, machines: &machines, limits: Limits { f16, ..Limits::default() }, seed })
    }
}

fn open() -> Result<Vec<(Device, Pipelines)>, String> {
    let open = |scalar: bool| {
        let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), scalar, ..OpenOptions::default() };
        let device = Device::open(&options).map_err(|error| error.to_string())?;
        let pipelines = Pipelines::new(&device, None);
        Ok::<_, String>((device, pipelines))
    };
    let first = open(false)?;
    match first.0.capabilities().fragment {
        Some(_) => Ok(vec![first, open(true)?]),
        None => Ok(vec![first]),
    }
}

/// Our ops.
fn pool() -> Pool {
    Pool::new(ops::cases(), |shape| Arc::new(Reshape { shape }))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let told = std::env::var(variable).ok();
    told.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a whole number")))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let bench = Arc::new(Bench { pool: pool(), opened: open() });
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let mut trials = vec![
        Trial::test("every op is drawn, in every way", variety::every_op_is_drawn),
        Trial::test("programs are read back as printed", variety::programs_are_read_back),
        Trial::test("texts that are no programs are refused by line", variety::wrong_texts_are_refused),
        Trial::test("a wrong gradient is found and shrunk", planted::wrong_gradient),
        Trial::test("a gradient that is no number is found and shrunk", planted::senseless_gradient),
        Trial::test("a wrong composition is found and shrunk", planted::wrong_composition),
        Trial::test("a wrong fusion is found and shrunk", planted::wrong_fusion),
        Trial::test("what is wrong when made again is found and shrunk", planted::wrong_again),
        Trial::test("a thousand programs pass on paper", variety::many_pass_on_paper),
    ];
    let place = match &bench.opened {
        Ok(_) => "gpu",
        Err(reason) if required => {
            let reason = reason.clone();
            trials.push(Trial::test("adapter", move || Err(Failed::from(reason))));
            "no adapter"
        }
        Err(_) => "on paper, no adapter",
    };
    if bench.opened.is_ok() {
        let planted = bench.clone();
        trials.push(Trial::test("a wrong kernel is found and shrunk", move || planted::wrong_kernel(&planted)));
    }
    let seed = number("RANDOM_PROGRAMS_SEED", 1);
    for at in 0..number("RANDOM_PROGRAMS", FEW) {
        let bench = bench.clone();
        trials.push(Trial::test(format!("program {at} of seed {seed} ({place})"), move || drawn(&bench, seed, at)));
    }
    for (name, text) in regressions() {
        let bench = bench.clone();
        let lacks =
            bench.opened.as_ref().is_ok_and(|opened| !opened[0].0.capabilities().f16) && text.contains(" f16 [");
        let place = if lacks { "no f16 on this adapter" } else { place };
        let name = format!("kept: {name} ({place})");
        trials.push(Trial::test(name, move || replayed(&bench, &text)).with_ignored_flag(lacks));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn drawn(bench: &Bench, seed: u64, number: u64) -> Result<(), Failed> {
    let finding = bench.check(&bench.pool, seed, |campaign| campaign.run(number)).ok_or("no tame program was drawn")?;
    match finding.shrunk {
        None => Ok(()),
        Some((program, failure)) => {
            let how = "keep it as a file in tests/random_programs/regressions, and it is replayed by this test";
            Err(Failed::from(format!(
                "{failure}\nshrunk to this program; {how}:\n{program}\ndrawn as:\n{}",
                finding.program
            )))
        }
    }
}

fn replayed(bench: &Bench, text: &str) -> Result<(), Failed> {
    let program = bench.pool.read(text)?;
    match bench.check(&bench.pool, 0, |campaign| campaign.check(&program)) {
        Outcome::Passed { .. } => Ok(()),
        Outcome::Untamed => Err(Failed::from("its numbers are too large to say anything: change its seed")),
        Outcome::Failed(failure) => Err(Failed::from(failure.to_string())),
    }
}

/// Name and text of every kept program.
fn regressions() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/random_programs/regressions");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the folder can be listed").path();
        let text = std::fs::read_to_string(&path).expect("kept programs are text");
        (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text)
    };
    let mut kept: Vec<_> = std::fs::read_dir(folder).expect("the folder of kept programs").map(read).collect();
    kept.sort();
    kept
}
