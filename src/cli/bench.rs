//! `vistok bench`: GPU time of every op on the shapes of real models, beside the floor that the machine sets.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::{Bound, Ceilings, Measurement, Subject, subjects};
use vistok::graph::Case;
use vistok::kernel::Elem;
use vistok::ops;

use super::machine::Machine;
use super::progress::Progress;
use super::table::{Align, Table};
use super::{AdapterArgument, Error, speak};

/// Time every op on the shapes of real models: GPU time, TFLOP/s or GB/s, and how near that is to the floor.
///
/// The floor is what the op's bytes and multiply-adds take at the rates of a copy and of a large matrix product, both
/// measured in the same run. `backward N` computes the gradient of input N. Tensors stay where they are between runs,
/// so what fits into a cache is read from there and may beat its floor. On a software adapter one small case an op is
/// run (all that match, with a filter), and counts are what to look at.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only what contains this: an op, a layer, f16, part of a shape.
    filter: Option<String>,
    /// One JSON document on standard output: `rows` with `name`, `shape`, `element`, `pass`, `median_ms`, `tflops`,
    /// `gb_per_s`, `floor_ms`, one a measurement.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    adapter: AdapterArgument,
}

/// A subject that was measured, or why it was not.
struct Line {
    subject: Subject,
    measured: Result<Measurement, String>,
    floor: Option<(Duration, Bound)>,
}

/// Measures.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let adapter = arguments.adapter.adapter.as_deref();
    let (mut machine, ceilings) =
        Machine::prepare(adapter, |machine| Ok(Ceilings::measure(&machine.device, &machine.pipelines)?))?;
    // Time on a software adapter is that of the CPU and whoever else uses it: no floor is claimed there.
    let software = machine.device.capabilities().software;
    let floors = ceilings.filter(|_| !software);
    let all = chosen(&machine, arguments.filter.as_deref())?;
    speak::note(&head(&machine, floors));
    let progress = Progress::new("timing", 0, all.len() as u64);
    let mut lines = Vec::with_capacity(all.len());
    for subject in all {
        let measured = loop {
            match subject.measure(&machine.device, &machine.pipelines).map_err(Error::from) {
                Err(error) if error.is_lost_device() => machine = machine.without_fragments(adapter, error)?,
                measured => break measured.map_err(|error| super::error::one_line(&error)),
            }
        };
        progress.advance(&format!("{} {}", subject.name, subject.pass));
        let floor = floors.map(|ceilings| ceilings.floor(subject.cost, subject.elem));
        lines.push(Line { subject, measured, floor });
    }
    progress.finish();
    let text = if software { counts(&lines) } else { times(&lines) };
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let document = json!({
            "adapter": machine.name(),
            "software": software,
            "copy_gb_per_s": floors.map(|ceilings| ceilings.bytes_per_second / 1e9),
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
fn chosen(machine: &Machine, filter: Option<&str>) -> Result<Vec<Subject>, Error> {
    let capabilities = machine.device.capabilities();
    let mut cases: Vec<Case> =
        ops::cases().into_iter().filter(|case| case.real.is_some() != capabilities.software).collect();
    if capabilities.software && filter.is_none() {
        // The largest case of each op that the CPU does in a moment.
        let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
        cases.sort_by_key(|case| (case.op.name(), size(case) > 20_000, size(case).abs_diff(20_000)));
        cases.dedup_by_key(|case| case.op.name());
    }
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
        json!({
            "name": self.subject.name,
            "shape": self.subject.shape,
            "element": self.subject.elem.to_string(),
            "pass": self.subject.pass.to_string(),
            "median_ms": self.median().map(milliseconds),
            "tflops": rates.and_then(|(flops, _)| flops),
            "gb_per_s": rates.map(|(_, bytes)| bytes),
            "floor_ms": self.floor.map(|(floor, _)| milliseconds(floor)),
            "bound_by": self.floor.map(|(_, bound)| bound.name()),
            "dispatches": self.subject.recording.dispatches.len(),
            "bytes": self.subject.cost.bytes,
            "multiply_adds": self.subject.cost.multiply_adds,
            "pipelines": self.measured.as_ref().ok().map(|measured| measured.pipelines),
            "reason": self.measured.as_ref().err(),
        })
    }

    /// What it is: the first four columns.
    fn subject_cells(&self) -> Vec<String> {
        let Subject { name, shape, elem, pass, .. } = &self.subject;
        vec![name.clone(), shape.clone(), elem.to_string(), pass.to_string()]
    }

    fn time_cell(&self) -> String {
        match (&self.measured, self.median()) {
            (Err(reason), _) => format!("not run: {reason}"),
            (_, None) => "no timestamps".to_owned(),
            (_, Some(time)) => format!("{:.3} ms", time.as_secs_f64() * 1e3),
        }
    }
}

const SUBJECT: [(&str, Align); 4] =
    [("op", Align::Left), ("inputs", Align::Left), ("element", Align::Left), ("pass", Align::Left)];

fn times(lines: &[Line]) -> String {
    let right = ["time", "rate", "floor", "of floor"].map(|head| (head, Align::Right));
    let mut table = Table::new(&[&SUBJECT[..], &right, &[("bound by", Align::Left)]].concat());
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
        table.row([line.subject_cells(), cells.to_vec()].concat());
    }
    table.text()
}

fn counts(lines: &[Line]) -> String {
    let right = ["dispatches", "bytes", "new pipelines", "time"].map(|head| (head, Align::Right));
    let mut table = Table::new(&[&SUBJECT[..], &right].concat());
    for line in lines {
        let pipelines = line.measured.as_ref().map(|measured| measured.pipelines.to_string()).unwrap_or_default();
        let dispatches = line.subject.recording.dispatches.len().to_string();
        let cells = vec![dispatches, line.subject.cost.bytes.to_string(), pipelines, line.time_cell()];
        table.row([line.subject_cells(), cells].concat());
    }
    table.text()
}
