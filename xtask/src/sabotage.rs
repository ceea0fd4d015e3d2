//! `cargo xtask sabotage`: changes kernels and gradient rules one thing at a time; the comparison must notice.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::steps::{self, Step, Steps};
use crate::{adapter, repository, say, wants_help};

const HELP: &str = "\
Changes one operator, index or barrier of a kernel at a time, and one thing of a gradient rule, and demands that the
comparison notices. A survivor must stand in tests/snapshots/sabotage.txt, with the reason why it changes nothing.

    cargo xtask sabotage [--kernel FILTER] [--sample N] [--shard I/N] [--state FILE] [--jobs J] [--limit SECONDS]
                         [--runs R]
    cargo xtask sabotage report STATE...

--kernel   only mutants whose names contain FILTER: `softmax/forward`, `workgroupBarrier`
--sample   only N of them, always the same, of as many files as can be
--shard    only part I (from 0) of N
--state    where verdicts are kept, and from where a run goes on that was stopped [target/sabotage.jsonl]; they hold
           while the text of the changed file does: remove the file after changes of cases or tolerances
--jobs     processes at a time, each with a device of its own [1]
--limit    seconds that one run of a mutant may take before it counts as noticed [60]
--runs     runs that a mutant must survive, of every kind of build one first: fewer where a run is slow [1024]
report     what came of all mutants, by the states of all shards and machines

The program that does it is one file: `cargo test --release --test sabotage --no-run` says where. It can be carried to a
machine that has nothing but an adapter; `--mutants run` and `--mutants report` take the same options.";

pub fn run(words: &[OsString]) -> Result<ExitCode, String> {
    if wants_help(words) {
        return say(HELP);
    }
    let program = |words: &[OsString]| -> Command {
        let mut command = steps::cargo();
        command.args(["test", "--release", "--test", "sabotage", "--", "--mutants"]).args(words);
        command
    };
    let mut steps = Steps::default();
    if words.first().is_some_and(|word| word == "report") {
        let report: Vec<OsString> = words.iter().take(1).cloned().chain(words[1..].iter().map(absolute)).collect();
        steps.run(Step { name: "report", command: program(&report) });
        return Ok(steps.finish());
    }
    adapter::ensure()?;
    let mut kernels: Vec<OsString> = vec!["run".into()];
    if !words.iter().any(|word| word == "--state") {
        kernels.extend(["--state".into(), repository().join("target/sabotage.jsonl").into()]);
    }
    for (at, word) in words.iter().enumerate() {
        let is_path = at > 0 && words[at - 1] == "--state";
        kernels.push(if is_path { absolute(word) } else { word.clone() });
    }
    steps.run(Step { name: "gradient rules", command: program(&["rules".into()]) });
    steps.run(Step { name: "kernels", command: program(&kernels) });
    Ok(steps.finish())
}

/// A path as seen from where the user stands: cargo starts tests in the repository.
fn absolute(path: &OsString) -> OsString {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)).into_os_string()
}
