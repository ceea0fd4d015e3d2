//! Every kernel against its maths: each node of each case's graph, forward and backward, in f32 and f16, with runtime
//! checks on and off, by each engine that the adapter has, and every way of cutting a GEMM. The trials are those of
//! `vistok verify`.
//!
//! What the adapter cannot do is listed as ignored, with the reason. Without an adapter all of it is; with
//! `REQUIRE_GPU=1` it fails then. `REQUIRE_COOP=1` demands cooperative matrices as well, and `VISTOK_ADAPTER` names the
//! adapter.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::kernel::Capabilities;
use vistok::verify::suite::{self, Bench, Question, Scope, Status};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let bench = Bench::open(std::env::var("VISTOK_ADAPTER").ok().as_deref()).map(Arc::new);
    let portable = Capabilities::portable();
    let machine = bench.as_ref().map_or(&portable, |bench| bench.device().capabilities());
    let questions = suite::questions(machine, Scope::Small, None).expect("the cases' shapes fit");
    let mut trials = Vec::new();
    for question in questions.into_iter().map(Arc::new) {
        for trial in question.trials.clone() {
            let name = question.name(&trial);
            let (reason, must) = match &bench {
                Err(error) => (Some(error.to_string()), required("REQUIRE_GPU")),
                Ok(_) => (trial.obstacle.clone(), trial.way.cooperative && required("REQUIRE_COOP")),
            };
            trials.push(match (&bench, reason) {
                (Ok(bench), None) => {
                    let (bench, question) = (bench.clone(), question.clone());
                    Trial::test(name, move || check(&bench, &question, &trial))
                }
                (_, reason) => {
                    let reason = reason.unwrap_or_default();
                    let label = format!("{name} ({})", reason.split(';').next().unwrap_or_default());
                    Trial::test(label, move || Err(Failed::from(reason))).with_ignored_flag(!must)
                }
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

fn check(bench: &Bench, question: &Question, trial: &suite::Trial) -> Result<(), Failed> {
    let outcomes = bench.try_one(question, trial);
    let faults: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.status != Status::Passed)
        .map(|outcome| {
            let (op, kernels) = (outcome.op, outcome.kernels());
            let place = outcome.row.as_ref().map(|row| format!(" {} output {}", row.shapes, row.output));
            let reason = outcome.reason.as_deref().unwrap_or_default();
            format!("{op} {kernels:?}{}: {reason}", place.unwrap_or_default())
        })
        .collect();
    match (faults.is_empty(), outcomes.is_empty()) {
        (true, false) => Ok(()),
        (true, true) => Err(Failed::from("nothing was compared")),
        (false, _) => Err(Failed::from(faults.join("\n"))),
    }
}
