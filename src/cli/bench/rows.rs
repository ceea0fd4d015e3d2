//! Ops, one a row.

use std::time::Duration;

use serde_json::{Value, json};
use vistok::bench::{Bound, Ceilings, Measurement, Subject, Suite, subjects};
use vistok::kernel::Elem;
use vistok::ops;

use super::Arguments;
use super::peer::{Key, Peer};
use crate::cli::machine::Machine;
use crate::cli::progress::Progress;
use crate::cli::table::{Align, Table};
use crate::cli::{Error, error, speak};

/// A subject that was measured, or why it was not.
struct Line {
    subject: Subject,
    measured: Result<Measurement, String>,
    floor: Option<(Duration, Bound)>,
    /// What the peer took.
    peer: Option<Duration>,
}

pub(super) fn run(
    arguments: &Arguments,
    (suite, filter): (Suite, Option<&str>),
    (mut machine, ceilings): (Machine, Option<Ceilings>),
    peer: Option<&Peer>,
) -> Result<(), Error> {
    // Time on a software adapter is that of the CPU and whoever else uses it: no floor is claimed there.
    let software = machine.device.capabilities().software;
    let floors = ceilings.filter(|_| !software);
    let all = chosen(&machine, suite, filter)?;
    speak::note(&head(&machine, floors));
    let progress = Progress::new("timing", 0, all.len() as u64);
    let mut lines = Vec::with_capacity(all.len());
    for mut subject in all {
        // A device may have been lost, and another taken its place.
        subject.record_for(&machine.device);
        let measured = loop {
            match subject.measure(&machine.device, &machine.pipelines).map_err(Error::from) {
                Err(error) if error.is_lost_device() => {
                    machine = machine.without_fragments(&arguments.machine, error)?;
                    subject.record_for(&machine.device);
                }
                measured => break measured.map_err(|error| error::one_line(&error)),
            }
        };
        progress.advance(&format!("{} {}", subject.name, subject.pass));
        let floor =
            floors.map(|ceilings| ceilings.floor(subject.cost, subject.elem, subject.recording.dispatches.len()));
        let peer = peer.and_then(|peer| peer.time(&key(&subject)));
        lines.push(Line { subject, measured, floor, peer });
    }
    progress.finish();
    let text = if software { counts(&lines, peer) } else { times(&lines, peer) };
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let document = json!({
            "adapter": machine.name(),
            "suite": suite.name(),
            "software": software,
            "copy_gb_per_s": floors.map(|ceilings| ceilings.bytes_per_second / 1e9),
            "call_us": floors.map(|ceilings| ceilings.call.as_secs_f64() * 1e6),
            "product_tflops_f32": floors.map(|ceilings| 2.0 * ceilings.f32_per_second / 1e12),
            "product_tflops_f16": floors.and_then(|ceilings| ceilings.f16_per_second).map(|rate| 2.0 * rate / 1e12),
            "rows": lines.iter().map(Line::json).collect::<Vec<Value>>(),
        });
        speak::say_json(&document)?;
    }
    match lines.iter().any(|line| line.measured.is_ok()) {
        true => Ok(()),
        false => Err(Error::Refused("nothing was measured; the table says why".to_owned())),
    }
}

fn head(machine: &Machine, floors: Option<Ceilings>) -> String {
    let name = machine.name();
    let Some(ceilings) = floors else { return format!("{name}: counts, since time says little here") };
    let (copy, single) = (ceilings.bytes_per_second / 1e9, 2.0 * ceilings.f32_per_second / 1e12);
    let half = ceilings.f16_per_second.map_or_else(String::new, |rate| format!(", f16 {:.1}", 2.0 * rate / 1e12));
    format!("{name}: a copy moves {copy:.0} GB/s; a large product reaches, in TFLOP/s, f32 {single:.1}{half}")
}

/// What is measured here and passes the filter.
fn chosen(machine: &Machine, suite: Suite, filter: Option<&str>) -> Result<Vec<Subject>, Error> {
    let capabilities = machine.device.capabilities();
    let cases = suite.cases(capabilities.software, filter.is_some())?;
    let elems = [Elem::F32, Elem::F16].into_iter().filter(|&elem| elem == Elem::F32 || capabilities.f16);
    let elems: Vec<Elem> = elems.collect();
    let mut all = Vec::new();
    for case in &cases {
        for &elem in &elems {
            all.extend(subjects(case, elem, &machine.device)?);
        }
    }
    let count = all.len();
    if let Some(filter) = filter {
        all.retain(|subject| {
            let Subject { name, shape, elem, pass, .. } = subject;
            format!("{name} {shape} {elem} {pass}").contains(filter)
        });
        if all.is_empty() {
            return Err(Error::Filter { filter: filter.to_owned(), count, what: "measurements", command: "bench" });
        }
    }
    Ok(all)
}

fn key(subject: &Subject) -> Key {
    let [name, shape, elem, pass] = names(subject);
    [name, shape, elem, pass, super::peer::attributes(attributes(subject).as_ref())]
}

/// The first four columns.
fn names(subject: &Subject) -> [String; 4] {
    let Subject { name, shape, elem, pass, .. } = subject;
    [name.clone(), shape.clone(), elem.to_string(), pass.to_string()]
}

/// What the op is made from, as a case file would say it.
fn attributes(subject: &Subject) -> Option<Value> {
    let signature = ops::signature(subject.op.name()).ok()?;
    serde_json::from_str(&signature.attributes_of(&*subject.op)?).ok()
}

impl Line {
    fn median(&self) -> Option<Duration> {
        self.measured.as_ref().ok().and_then(|measured| measured.median)
    }

    /// TFLOP/s, where it multiplies at all, and GB/s.
    fn rates(&self) -> Option<(Option<f64>, f64)> {
        let seconds = self.median()?.as_secs_f64();
        let cost = self.subject.cost;
        let flops = (cost.multiply_adds > 0).then(|| 2.0 * cost.multiply_adds as f64 / seconds / 1e12);
        Some((flops, cost.bytes as f64 / seconds / 1e9))
    }

    fn json(&self) -> Value {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let rates = self.rates();
        let Subject { name, shape, elem, pass, cost, recording, op, inputs, .. } = &self.subject;
        let tensors =
            inputs.iter().map(|input| json!({ "shape": input.shape.to_vec(), "element": input.elem.to_string() }));
        json!({
            "name": name,
            "shape": shape,
            "element": elem.to_string(),
            "pass": pass.to_string(),
            "op": op.name(),
            "attributes": attributes(&self.subject),
            "inputs": tensors.collect::<Vec<Value>>(),
            "median_ms": self.median().map(milliseconds),
            "tflops": rates.and_then(|(flops, _)| flops),
            "gb_per_s": rates.map(|(_, bytes)| bytes),
            "floor_ms": self.floor.map(|(floor, _)| milliseconds(floor)),
            "bound_by": self.floor.map(|(_, bound)| bound.name()),
            "peer_ms": self.peer.map(milliseconds),
            "dispatches": recording.dispatches.len(),
            "bytes": cost.bytes,
            "held_bytes": self.subject.held_bytes(),
            "copies": self.measured.as_ref().ok().map(|measured| measured.copies),
            "multiply_adds": cost.multiply_adds,
            "pipelines": self.measured.as_ref().ok().map(|measured| measured.pipelines),
            "reason": self.measured.as_ref().err(),
        })
    }

    fn time_cell(&self) -> String {
        match (&self.measured, self.median()) {
            (Err(_), _) => super::NOT_RUN.to_owned(),
            (_, None) => "no timestamps".to_owned(),
            (_, Some(time)) => format!("{:.3} ms", time.as_secs_f64() * 1e3),
        }
    }
}

const SUBJECT: [(&str, Align); 4] =
    [("op", Align::Left), ("inputs", Align::Left), ("element", Align::Left), ("pass", Align::Left)];

fn times(lines: &[Line], peer: Option<&Peer>) -> String {
    let right = ["time", "rate", "floor", "of floor"].map(|head| (head, Align::Right));
    let mut columns = [&SUBJECT[..], &right, &[("bound by", Align::Left)]].concat();
    columns.extend(peer.map(|_| super::peer::COLUMNS).into_iter().flatten());
    let mut table = Table::new(&columns);
    for line in lines {
        let rate = match line.rates() {
            Some((Some(flops), _)) if line.floor.is_none_or(|floor| floor.1 == Bound::Compute) => {
                format!("{flops:.2} TFLOP/s")
            }
            Some((_, bytes)) => format!("{bytes:.0} GB/s"),
            None => String::new(),
        };
        let floor = line.floor.map(|(floor, _)| floor.as_secs_f64());
        let share =
            floor.zip(line.median()).map(|(floor, time)| format!("{:.0} %", 100.0 * floor / time.as_secs_f64()));
        let floor = floor.map(|floor| format!("{:.3} ms", floor * 1e3));
        let bound = line.floor.map(|(_, bound)| bound.name().to_owned());
        let cells = [Some(line.time_cell()), Some(rate), floor, share, bound].map(Option::unwrap_or_default);
        let beside = peer.map(|_| super::peer::cells(line.median(), line.peer)).into_iter().flatten();
        table.row(names(&line.subject).into_iter().chain(cells).chain(beside).collect());
    }
    table.text() + &summary(lines, peer)
}

fn counts(lines: &[Line], peer: Option<&Peer>) -> String {
    let right = ["dispatches", "bytes", "new pipelines", "time"].map(|head| (head, Align::Right));
    let mut columns = [&SUBJECT[..], &right].concat();
    columns.extend(peer.map(|_| super::peer::COLUMNS).into_iter().flatten());
    let mut table = Table::new(&columns);
    for line in lines {
        let pipelines = line.measured.as_ref().map(|measured| measured.pipelines.to_string()).unwrap_or_default();
        let dispatches = line.subject.recording.dispatches.len().to_string();
        let cells = [dispatches, line.subject.cost.bytes.to_string(), pipelines, line.time_cell()];
        let beside = peer.map(|_| super::peer::cells(line.median(), line.peer)).into_iter().flatten();
        table.row(names(&line.subject).into_iter().chain(cells).chain(beside).collect());
    }
    table.text() + &summary(lines, peer)
}

fn summary(lines: &[Line], peer: Option<&Peer>) -> String {
    let ratios = lines.iter().filter_map(|line| Some((line.peer?, line.median()?)));
    let reasons = lines.iter().filter_map(|line| Some((names(&line.subject).join(" "), line.measured.as_ref().err()?)));
    super::reasons(reasons) + &peer.map(|peer| peer.summary(ratios)).unwrap_or_default()
}
