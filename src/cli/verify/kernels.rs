//! Every kernel against its maths on this machine, in every way that the machine can run it.

use rayon::prelude::*;
use vistok::verify::suite::{Bench, Outcome, Question, Scope, Status};

use super::{Arguments, report};
use crate::cli::progress::Progress;
use crate::cli::{Error, speak};

/// Compares.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let bench = Bench::open(arguments.adapter.adapter.as_deref())?;
    let scope = match (arguments.quick, arguments.full) {
        (true, _) => Scope::Quick,
        (_, true) => Scope::Full,
        _ => Scope::Small,
    };
    let questions = bench.questions(scope, arguments.filter.as_deref())?;
    if let (true, Some(filter)) = (questions.is_empty(), &arguments.filter) {
        let count = bench.questions(scope, None)?.iter().map(|question| question.trials.len()).sum();
        return Err(Error::Filter { filter: filter.clone(), count, what: "trials", command: "verify" });
    }
    let machine = report::Machine::of(bench.device());
    machine.note();
    let began = std::time::Instant::now();
    let outcomes = ask(&bench, questions);
    let counts = report::Counts::of(&outcomes);
    let seconds = began.elapsed().as_secs_f64();
    speak::report(arguments.json, &format!("{}{}", machine.text(), report::text(&outcomes, &counts, seconds)))?;
    if arguments.json {
        speak::say_json(&report::json(&machine, &outcomes, &counts, seconds))?;
    }
    match (counts.passed, counts.failed) {
        (passed, failed @ 1..) => Err(Error::Failed { failed, compared: passed + failed }),
        (0, 0) => {
            let reason = outcomes.first().and_then(|outcome| outcome.reason.clone()).unwrap_or_default();
            Err(Error::Nothing { reason })
        }
        _ => Ok(()),
    }
}

/// Asks the questions; those on small shapes several at once, those of real models one after another, since the CPU's
/// side of one takes gigabytes, and all cores.
fn ask(bench: &Bench, questions: Vec<Question>) -> Vec<Outcome> {
    let (real, small): (Vec<_>, Vec<_>) = questions.into_iter().partition(|question| question.case.real.is_some());
    let one = |progress: &Progress, question: &Question| {
        let outcomes = bench.ask(question);
        for trial in &question.trials {
            progress.advance(&format!("{} {} {}", question.case.op.name(), question.elem, trial.way.label()));
        }
        outcomes
    };
    let trials = |questions: &[Question]| questions.iter().map(|question| question.trials.len() as u64).sum();
    let progress = Progress::new("verifying", 0, trials(&small));
    let mut all: Vec<Outcome> = small.into_par_iter().flat_map_iter(|question| one(&progress, &question)).collect();
    progress.finish();
    let runs = |question: &&Question| question.trials.iter().any(|trial| trial.obstacle.is_none());
    // Their own bar: one of these takes as long as hundreds of the others, and the time left should not lie.
    let progress = real.iter().any(|question| runs(&question)).then(|| Progress::new("real shapes", 0, trials(&real)));
    for question in real {
        all.extend(match &progress {
            Some(progress) => one(progress, &question),
            None => bench.ask(&question),
        });
    }
    progress.iter().for_each(Progress::finish);
    debug_assert!(all.iter().all(|outcome| outcome.status == Status::Passed || outcome.reason.is_some()));
    all
}
