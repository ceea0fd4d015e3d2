//! Can the proof fail? Kernels and gradient rules with one thing changed, which the comparison must notice.
//!
//! `cargo test` judges every gradient rule's mutants and a fixed sample of the kernels'. All of them: `cargo xtask
//! sabotage`, or this program started by hand, which needs nothing but an adapter:
//!
//! ```text
//! sabotage --mutants run [--state FILE] [--shard I/N] [--sample N] [--kernel FILTER] [--jobs J] [--limit SECONDS]
//!              [--runs R]
//! sabotage --mutants report STATE…     what came of all mutants, by the state files of all shards
//! sabotage --mutants rules             the gradient rules' mutants: made, noticed, listed
//! sabotage --mutants list              every mutant of every kernel: name, then line:column
//! ```

use std::collections::BTreeSet;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Device, OpenOptions};
use vistok::graph::Case;
use vistok::ops::{self, Conv2d, MatMul};
use vistok::verify::sabotage::{Files, Listing, Mutant, files, rule_mutants};

mod judge;
mod pool;
mod report;
mod state;

/// Mutants of kernels that `cargo test` judges.
const SAMPLE: usize = 40;
/// What stands before a command: no filter of tests looks like it.
pub(crate) const COMMANDS: &str = "--mutants";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_none_or(|word| word != COMMANDS) {
        return libtest_mimic::run(&Arguments::from_args(), trials()).exit_code();
    }
    let (command, rest) = words[1..].split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let done = match command {
        "run" => pool::Options::of(rest).and_then(|options| run(&options)),
        "report" => report_of(rest),
        "rules" => rules().map(|text| println!("{text}")),
        "list" => list(),
        "judge" => judge::serve(rest.first().map(String::as_str)),
        _ => Err(format!("`{command}` is no command; run, report, rules and list are")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("sabotage: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The cases of `cargo test`, and two of whole tiles for every way of cutting a product.
fn cases() -> Vec<Case> {
    let small = ops::cases().into_iter().filter(|case| case.real.is_none());
    let whole = [
        Case::new(MatMul::new(), &[&[128, 64], &[64, 128]]),
        Case::new(Conv2d::new(1, 1), &[&[2, 8, 8, 64], &[3, 3, 64, 128]]),
    ];
    small.chain(whole).collect()
}

fn all_files() -> Result<Files, String> {
    files(&cases()).map_err(|fault| fault.to_string())
}

fn listing() -> Result<Listing, String> {
    Listing::read(include_str!("../snapshots/sabotage.txt"))
        .map_err(|error| format!("tests/snapshots/sabotage.txt: {error}"))
}

fn list() -> Result<(), String> {
    for Mutant { name, place: [line, column], .. } in all_files()?.mutants() {
        println!("{name}\t{line}:{column}");
    }
    Ok(())
}

/// Judges the mutants that the options choose, and tells what came of them.
fn run(options: &pool::Options) -> Result<(), String> {
    let files = all_files()?;
    let mutants = files.mutants();
    let chosen = options.choose(&mutants);
    if let (true, Some(filter)) = (chosen.is_empty(), &options.kernel) {
        return Err(format!("no mutant has a name that contains `{filter}`"));
    }
    let verdicts = pool::judge_all(options, &files, &mutants, &chosen)?;
    let chosen: Vec<&Mutant> = chosen.iter().map(|&at| &mutants[at]).collect();
    report::report(&chosen, &verdicts, &listing()?, false)
}

fn report_of(states: &[String]) -> Result<(), String> {
    let files = all_files()?;
    let mutants = files.mutants();
    let mut verdicts = state::Verdicts::new();
    for path in states {
        state::merge(&mut verdicts, state::read(path.as_ref(), &files)?);
    }
    report::report(&mutants.iter().collect::<Vec<_>>(), &verdicts, &listing()?, true)
}

/// Judges every mutant of every gradient rule: a summary, or the survivors that are not listed.
fn rules() -> Result<String, String> {
    let all = rule_mutants(&ops::cases().into_iter().filter(|case| case.real.is_none()).collect::<Vec<_>>(), 7)
        .map_err(|fault| fault.to_string())?;
    let listing = listing()?;
    let (survived, noticed): (Vec<_>, Vec<_>) = all.iter().partition(|mutant| mutant.noticed.is_none());
    let (listed, new): (Vec<_>, Vec<_>) =
        survived.into_iter().partition(|mutant| listing.reason(&mutant.name).is_some());
    let summary = format!("gradient rules: {} mutants, {} noticed, {} listed", all.len(), noticed.len(), listed.len());
    // Without a GPU and in f64 there is no luck: what is noticed here is noticed everywhere.
    let stale: Vec<_> = noticed.iter().filter(|mutant| listing.reason(&mutant.name).is_some()).collect();
    if new.is_empty() && stale.is_empty() {
        return Ok(summary);
    }
    let new: String = new.iter().map(|mutant| format!("\n    {} (in {} cases)", mutant.name, mutant.cases)).collect();
    let stale: String = stale.iter().map(|mutant| format!("\n    {}", mutant.name)).collect();
    Err(format!("{summary}\n  nobody noticed, and not listed:{new}\n  listed, and noticed:{stale}"))
}

fn trials() -> Vec<Trial> {
    let fails = |done: Result<(), String>| done.map_err(Failed::from);
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let adapter = Device::open(&OpenOptions { adapter: adapter(), ..OpenOptions::default() });
    let name = format!("a sample of {SAMPLE} kernel mutants is noticed");
    let sample = move || {
        let options = pool::Options { sample: Some(SAMPLE), jobs: 2, ..pool::Options::default() };
        run(&options).map_err(Failed::from)
    };
    vec![
        Trial::test("every gradient rule mutant is noticed", move || fails(rules().map(|_| ()))),
        Trial::test("every listed mutant exists", move || fails(nothing_is_stale())),
        Trial::test(name, sample).with_ignored_flag(adapter.is_err() && !required),
    ]
}

fn nothing_is_stale() -> Result<(), String> {
    let kernels = all_files()?.mutants();
    let small: Vec<Case> = ops::cases().into_iter().filter(|case| case.real.is_none()).collect();
    let rules = vistok::verify::sabotage::rule_names(&small).map_err(|fault| fault.to_string())?;
    let names = kernels.iter().map(|mutant| mutant.name.as_str());
    let made: BTreeSet<&str> = names.chain(rules.iter().map(String::as_str)).collect();
    let listing = listing()?;
    let stale = listing.stale(&made);
    match stale.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("listed in tests/snapshots/sabotage.txt, and made no more:\n    {}", stale.join("\n    ")))
        }
    }
}

fn adapter() -> Option<String> {
    std::env::var("VISTOK_ADAPTER").ok()
}
