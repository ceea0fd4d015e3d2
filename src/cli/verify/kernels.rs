//! Every kernel against its maths on this machine, in every way that the machine can run it.

use serde_json::{Value, json};
use vistok::kernel::Elem;

use super::Arguments;
use super::trial::{self, Scope, Status, Trial, Verdict};
use crate::cli::table::{Align, Table};
use crate::cli::{Error, speak};

/// Compares.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let adapter = arguments.adapter.adapter.as_deref();
    let benches = trial::open(adapter)?;
    let scope = match (arguments.quick, arguments.full) {
        (true, _) => Scope::Quick,
        (_, true) => Scope::Full,
        _ => Scope::Small,
    };
    let trials = trial::all(&benches, scope, arguments.filter.as_deref())?;
    let info = benches[0].device.info();
    speak::note(&format!("{}, {} {}, {}", info.name, info.driver, info.driver_info, info.backend));
    let verdicts = trial::run(&benches, &trials);
    let count = |status: Status| verdicts.iter().filter(|verdict| verdict.status == status).count();
    let [passed, failed, not_run] = [Status::Passed, Status::Failed, Status::NotRun].map(count);

    let mut text = summary(&trials, &verdicts);
    text += &failures(&trials, &verdicts);
    text += &omissions(&verdicts);
    text += &format!("\n{passed} passed, {failed} failed, {not_run} not run\n");
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let rows: Vec<Value> = verdicts.iter().map(|verdict| row(&trials[verdict.trial], verdict)).collect();
        let document = json!({
            "adapter": info.name,
            "driver": format!("{} {}", info.driver, info.driver_info).trim(),
            "backend": info.backend.to_string(),
            "passed": passed,
            "failed": failed,
            "not_run": not_run,
            "rows": rows,
        });
        speak::say_json(&document)?;
    }
    match (passed, failed) {
        (_, 1..) => Err(Error::Failed { failed, compared: passed + failed }),
        (0, 0) => {
            let reason = verdicts.first().and_then(|verdict| verdict.reason.clone()).unwrap_or_default();
            Err(Error::Nothing { reason })
        }
        _ => Ok(()),
    }
}

fn row(trial: &Trial, verdict: &Verdict) -> Value {
    json!({
        "op": verdict.op,
        "kernel": verdict.kernels.join(" "),
        "engine": trial.engine.name(),
        "checked": trial.engine.checked(),
        "element": trial.elem.to_string(),
        "case": trial.case.name(),
        "shapes": verdict.shapes,
        "output": verdict.output,
        "status": verdict.status.name(),
        "error": verdict.error,
        "allowed": verdict.allowed,
        "reason": verdict.reason,
    })
}

/// A line for every op, element type and engine.
fn summary(trials: &[Trial], verdicts: &[Verdict]) -> String {
    let left = |head| (head, Align::Left);
    let right = |head| (head, Align::Right);
    let columns = [left("op"), left("element"), left("engine"), right("compared"), right("worst"), left("result")];
    let mut table = Table::new(&columns);
    let key = |verdict: &Verdict| {
        let trial = &trials[verdict.trial];
        (verdict.op, trial.elem == Elem::F16, trial.engine)
    };
    let mut compared: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.status != Status::NotRun).collect();
    compared.sort_by_key(|verdict| key(verdict));
    for group in compared.chunk_by(|one, other| key(one) == key(other)) {
        let trial = &trials[group[0].trial];
        let worst = group.iter().filter_map(|verdict| verdict.share).fold(0.0, f64::max);
        let failed = group.iter().filter(|verdict| verdict.status == Status::Failed).count();
        let result = if failed == 0 { "passed".to_owned() } else { format!("{failed} FAILED") };
        table.row(vec![
            group[0].op.to_owned(),
            trial.elem.to_string(),
            trial.engine.label().to_owned(),
            group.len().to_string(),
            format!("{:.0} %", 100.0 * worst),
            result,
        ]);
    }
    match table.is_empty() {
        true => String::new(),
        false => format!("{}\nworst: the largest error as a share of what the yardstick allows there\n", table.text()),
    }
}

fn failures(trials: &[Trial], verdicts: &[Verdict]) -> String {
    let failed = verdicts.iter().filter(|verdict| verdict.status == Status::Failed);
    failed
        .map(|verdict| {
            let trial = &trials[verdict.trial];
            let (op, kernels, case) = (verdict.op, verdict.kernels.join(" "), trial.case.name());
            let reason = verdict.reason.as_deref().unwrap_or_default();
            format!(
                "\nFAILED {op} {} {}, {case}\n  {kernels} {}\n  {}\n",
                trial.elem,
                trial.engine.label(),
                verdict.shapes,
                reason.replace('\n', "\n  ")
            )
        })
        .collect()
}

/// How many rows were not run, by reason.
fn omissions(verdicts: &[Verdict]) -> String {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.status == Status::NotRun) {
        let reason = verdict.reason.as_deref().unwrap_or_default();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons.iter().map(|(reason, count)| format!("\nnot run: {count} ({reason})\n")).collect()
}
