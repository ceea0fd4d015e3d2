//! What came of the trials: for people a table with the worst first, for programs one document.

use serde_json::{Map, Value, json};
use vistok::gpu::Device;
use vistok::kernel::{Capabilities, Elem};
use vistok::verify::suite::{Outcome, Status};
use vistok::wgpu;

use crate::cli::speak;
use crate::cli::table::{Align, Table};

/// Failures that are told in full; a driver that is wrong altogether would fill screens.
const TOLD: usize = 12;

/// What the trials ran on.
pub(super) struct Machine {
    info: wgpu::AdapterInfo,
    capabilities: Capabilities,
    limits: wgpu::Limits,
    features: Vec<String>,
}

/// How many outcomes ended how.
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) not_run: usize,
}

impl Machine {
    pub(super) fn of(device: &Device) -> Self {
        let features = device.device.features().iter_names().map(|(name, _)| name.to_lowercase()).collect();
        let (info, capabilities) = (device.info().clone(), device.capabilities().clone());
        Self { info, capabilities, limits: device.device.limits(), features }
    }

    fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned()
    }

    fn matrices(&self) -> Option<String> {
        self.capabilities.fragment.map(|fragment| format!("{0}x{0}x{0} f16 to f32", fragment.size()))
    }

    /// Adapter, driver, limits and features, a line each.
    pub(super) fn text(&self) -> String {
        let Capabilities { max_workgroup, max_workgroup_bytes, max_binding_bytes, subgroup, .. } = self.capabilities;
        let lanes = subgroup.map_or("of several sizes".to_owned(), |lanes| format!("of {lanes} lanes"));
        format!(
            "{}, {}, {}\nlimits    {max_workgroup} lanes and {} KiB a workgroup, {} MiB a binding, {} bindings a kernel\n\
             features  {}\n          subgroups {lanes}; cooperative matrices: {}\n\n",
            self.info.name,
            self.driver(),
            self.info.backend,
            max_workgroup_bytes >> 10,
            max_binding_bytes >> 20,
            self.limits.max_storage_buffers_per_shader_stage,
            if self.features.is_empty() { "none".to_owned() } else { self.features.join(", ") },
            self.matrices().unwrap_or_else(|| "none".to_owned()),
        )
    }

    /// Says which adapter it is before the work begins.
    pub(super) fn note(&self) {
        speak::note(self.text().lines().next().unwrap_or_default());
    }

    /// A document for programs: this machine, then `rest`.
    pub(super) fn with(&self, rest: Value) -> Value {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
        put("adapter", json!(self.info.name));
        put("driver", json!(self.driver()));
        put("backend", json!(self.info.backend.to_string()));
        put("limits", self.limits());
        put("features", json!(self.features));
        put("cooperative_matrices", json!(self.matrices()));
        if let Value::Object(rest) = rest {
            document.extend(rest);
        }
        Value::Object(document)
    }

    fn limits(&self) -> Value {
        json!({
            "workgroup_lanes": self.capabilities.max_workgroup,
            "workgroup_bytes": self.capabilities.max_workgroup_bytes,
            "binding_bytes": self.capabilities.max_binding_bytes,
            "bindings": self.limits.max_storage_buffers_per_shader_stage,
            "buffer_bytes": self.limits.max_buffer_size,
            "subgroup_lanes": self.capabilities.subgroup,
        })
    }
}

impl Counts {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let count = |status: Status| outcomes.iter().filter(|outcome| outcome.status == status).count();
        Self { passed: count(Status::Passed), failed: count(Status::Failed), not_run: count(Status::NotRun) }
    }
}

/// The one document.
pub(super) fn json(machine: &Machine, outcomes: &[Outcome], counts: &Counts, seconds: f64) -> Value {
    machine.with(json!({
        "seconds": seconds,
        "passed": counts.passed,
        "failed": counts.failed,
        "not_run": counts.not_run,
        "rows": outcomes.iter().map(row).collect::<Vec<Value>>(),
    }))
}

/// What is infinite or no number is `null` here: JSON has neither, and `reason` says which.
fn row(outcome: &Outcome) -> Value {
    let row = outcome.row.as_ref();
    let worst = row.map(|row| json!({ "index": row.index, "found": row.found, "true": row.truth }));
    json!({
        "op": outcome.op,
        "kernel": outcome.kernels().join(" "),
        "engine": outcome.trial.way.engine(),
        "checked": outcome.trial.way.checked,
        "tiles": outcome.trial.tiles.map(|tiles| tiles.tile),
        "element": outcome.elem.to_string(),
        "case": outcome.case,
        "model": outcome.real,
        "shapes": row.map(|row| &row.shapes),
        "output": row.map(|row| row.output),
        "status": outcome.status.name(),
        "error": row.map(|row| row.error),
        "allowed": row.map(|row| row.allowed),
        "typical": row.map(|row| row.typical),
        "worst": worst,
        "reason": outcome.reason,
    })
}

/// For people.
pub(super) fn text(outcomes: &[Outcome], counts: &Counts, seconds: f64) -> String {
    let Counts { passed, failed, not_run } = counts;
    let ends = format!("\n{passed} passed, {failed} failed, {not_run} not run, in {seconds:.0} s\n");
    [summary(outcomes), failures(outcomes), omissions(outcomes), ends].concat()
}

/// A line for every op and element type: failures first, then what comes closest to its limit.
fn summary(outcomes: &[Outcome]) -> String {
    let (left, right) = (|head| (head, Align::Left), |head| (head, Align::Right));
    let columns = [
        left("op"),
        left("element"),
        right("compared"),
        right("worst"),
        right("error"),
        right("allowed"),
        left("by"),
        left("result"),
    ];
    let key = |outcome: &Outcome| (outcome.op, outcome.elem == Elem::F16);
    let mut compared: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status != Status::NotRun).collect();
    compared.sort_by_key(|outcome| key(outcome));
    let mut lines = Vec::new();
    for group in compared.chunk_by(|one, other| key(one) == key(other)) {
        let failed = group.iter().filter(|outcome| outcome.status == Status::Failed).count();
        let rows = group.iter().filter_map(|outcome| Some((*outcome, outcome.row.as_ref()?)));
        // Of equals the first: max_by gives the last.
        let worst = rows.rev().max_by(|one, other| one.1.worst.total_cmp(&other.1.worst));
        let numbers = worst.map_or([const { String::new() }; 4], |(outcome, row)| {
            let share = format!("{:.0} %", 100.0 * row.worst);
            [share, format!("{:.1e}", row.error), format!("{:.1e}", row.allowed), outcome.trial.way.label().to_owned()]
        });
        let result = if failed == 0 { "passed".to_owned() } else { format!("{failed} FAILED") };
        let head = [group[0].op.to_owned(), group[0].elem.to_string(), group.len().to_string()];
        let cells: Vec<String> = head.into_iter().chain(numbers).chain([result]).collect();
        lines.push((failed > 0, worst.map_or(0.0, |(_, row)| row.worst), cells));
    }
    lines.sort_by(|one, other| other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)));
    let mut table = Table::new(&columns);
    lines.into_iter().for_each(|(.., cells)| table.row(cells));
    match table.is_empty() {
        true => String::new(),
        false => format!(
            "{}\nworst: the largest error as a share of what the yardstick allows there; by: how that one was run\n",
            table.text()
        ),
    }
}

fn failures(outcomes: &[Outcome]) -> String {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status == Status::Failed).collect();
    let tell = |outcome: &&Outcome| {
        let kernels = outcome.kernels().join(" ");
        let place = outcome.row.as_ref().map(|row| format!(" {} output {}", row.shapes, row.output));
        let reason = outcome.reason.as_deref().unwrap_or_default().replace('\n', "\n  ");
        format!("\nFAILED {}\n  {kernels}{}\n  {reason}\n", outcome.name, place.unwrap_or_default())
    };
    let mut text: String = failed.iter().take(TOLD).map(tell).collect();
    if failed.len() > TOLD {
        text += &format!("\nand {} more failures; --json lists all\n", failed.len() - TOLD);
    }
    text
}

/// How many trials were not run, by reason.
fn omissions(outcomes: &[Outcome]) -> String {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.status == Status::NotRun) {
        let reason = outcome.reason.as_deref().unwrap_or_default();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons.iter().map(|(reason, count)| format!("\nnot run: {count} ({reason})\n")).collect()
}
