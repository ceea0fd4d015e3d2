//! The child: judges mutants, one at a time. In come their numbers, with the runs that each must survive; out go
//! verdicts, a line each.
//!
//! A mutant may hang the device or take the process along; the parent starts another child then.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;
use vistok::verify::sabotage::{Outcome, Phase, Saboteur};

/// The lines that say what the child is about to do.
pub(crate) const PREPARING: &str = "preparing";
pub(crate) const RUNNING: &str = "running";
/// What stands behind the number of runs that a mutant survived, where there are more.
pub(crate) const OF_MORE: &str = " runs, of more";
/// An outcome that only a new child can tell from `noticed`.
pub(crate) const LOST: &str = "lost";

pub(crate) fn serve(adapter: Option<&str>) -> Result<(), String> {
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        // Without a reader there is nobody to judge for.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    };
    let failed = |message: String| say(&json!({ "failed": message }).to_string());
    let mutants = crate::all_files()?.mutants();
    let mut saboteur = match Saboteur::open(adapter, crate::cases()) {
        Ok(saboteur) => saboteur,
        Err(error) => {
            failed(error.to_string());
            return Ok(());
        }
    };
    say(&json!({ "machine": saboteur.machine() }).to_string());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let order: Vec<usize> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let (&[at, runs], true) = (&order[..], order.first().is_some_and(|&at| at < mutants.len())) else {
            return Err(format!("`{line}` is no mutant and a number of runs"));
        };
        let mutant = &mutants[at];
        let mut now = Phase::Preparing;
        let tell = |phase| {
            now = phase;
            say(if phase == Phase::Running { RUNNING } else { PREPARING });
        };
        match catch_unwind(AssertUnwindSafe(|| saboteur.judge(mutant, runs, tell))) {
            Ok(Ok(outcome)) => {
                let (outcome, detail) = match outcome {
                    Outcome::Noticed(detail) => ("noticed", detail),
                    Outcome::Lost(detail) => (LOST, detail),
                    Outcome::Refused(reason) => ("refused", reason),
                    Outcome::Survived(survived) if survived >= runs => ("survived", format!("{survived}{OF_MORE}")),
                    Outcome::Survived(all) => ("survived", format!("{all} runs")),
                    Outcome::Unreached => ("unreached", "no run of this machine is built of it".to_owned()),
                };
                say(&json!({ "outcome": outcome, "detail": detail }).to_string());
            }
            Ok(Err(error)) => failed(error.to_string()),
            // A text on which naga's writers panic never becomes a pipeline. The device is not to be used after that.
            Err(_) if now == Phase::Running => {
                say(&json!({ "outcome": "refused", "detail": "the translator panicked" }).to_string());
                return Ok(());
            }
            Err(_) => failed("the judge panicked over an unchanged kernel".to_owned()),
        }
    }
    Ok(())
}
