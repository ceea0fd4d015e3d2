//! `vistok compare`: a table of the paper beside what we count, and beside what is measured here.

#[cfg(feature = "plot")]
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use vistok::bench::{Count, ModelMeasurement, ModelSubject, Task};
use vistok::kernel::Elem;
use vistok::models::{Published, Table as Paper, Target};
#[cfg(feature = "plot")]
use vistok::train::files;

use super::machine::{Machine, MachineArgument};
use super::progress::Progress;
use super::table::{Align, Table};
use super::{Error, error, speak};

/// Print a table of the paper, accuracy and all, beside our own counts of the same networks and how long they take on this adapter.
///
/// Multiply-adds and parameters are those of the graphs that run; times are of a batch, forward and for a whole step of training,
/// when many follow each other. Accuracies are the paper's. On a software adapter a network takes minutes: `--count` leaves times out.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which table.
    #[arg(long, value_enum, default_value_t = Which::Slides)]
    table: Which,
    /// Images in the batch that is timed [default: 64, of networks that segment 4; 1 on a software adapter].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Time in f32 where the adapter has f16.
    #[arg(long)]
    f32: bool,
    /// Count alone; no adapter is needed.
    #[arg(long, conflicts_with_all = ["batch", "f32"])]
    count: bool,
    /// Draw accuracy against time into this SVG file.
    #[cfg(feature = "plot")]
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    figure: Option<PathBuf>,
    /// One JSON document on standard output: `rows` with `row`, `accuracy`, `macs`, `macs_published`, `parameters`,
    /// `parameters_published`, `forward_ms`, `training_ms`, `remark`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// A table of the paper.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// ImageNet, networks of 101 layers: the table of the talk.
    Slides,
    /// ImageNet, networks of 18 to 101 layers: table 8.
    Classifiers,
    /// Segmentation of COCO-stuff and LIP.
    Fpn,
}

impl Which {
    const fn table(self) -> Paper {
        match self {
            Self::Slides => Paper::Slides,
            Self::Classifiers => Paper::Classifiers,
            Self::Fpn => Paper::Segmentation,
        }
    }
}

/// What is timed.
const TASKS: [Task; 2] = [Task::Forward, Task::Training];

/// A row, counted, and perhaps timed.
struct Line {
    told: Published,
    multiply_adds: f64,
    parameters: [f64; 2],
    /// Of each of [`TASKS`]; nothing where networks are only counted.
    timed: Vec<Result<ModelMeasurement, String>>,
}

/// Counts, and times where that is wanted.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    #[cfg(feature = "plot")]
    if let Some(path) = &arguments.figure {
        // Minutes of measuring should not end at a folder that is not there.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::probe(folder).map_err(|source| refused(path, source))?;
    }
    let mut lines = arguments.table.table().rows().into_iter().map(Line::counted).collect::<Result<Vec<_>, _>>()?;
    let timed = if arguments.count { None } else { Some(time(arguments, &mut lines)?) };
    speak::report(arguments.json, &text(&lines, timed.as_ref()))?;
    if arguments.json {
        let rows: Vec<Value> = lines.iter().map(Line::json).collect();
        let timed = timed.as_ref();
        speak::say_json(&json!({
            "adapter": timed.map(|timed| &timed.adapter),
            "element": timed.map(|timed| timed.elem.to_string()),
            "batch": timed.map(|timed| timed.batch),
            "rows": rows,
        }))?;
    }
    #[cfg(feature = "plot")]
    if let (Some(path), Some(timed)) = (&arguments.figure, &timed) {
        let points = lines.iter().filter_map(Line::point).collect::<Vec<_>>();
        let title = format!("{}, batches of {} in {}", timed.adapter, timed.batch, timed.elem);
        let figure = super::picture::accuracy_by_time(&points, &title)?;
        files::replace(path, figure.as_bytes()).map_err(|source| refused(path, source))?;
    }
    match arguments.count || lines.iter().any(|line| line.timed.iter().any(Result::is_ok)) {
        true => Ok(()),
        false => Err(Error::Refused("nothing was measured; the table says why".to_owned())),
    }
}

#[cfg(feature = "plot")]
fn refused(path: &Path, source: std::io::Error) -> Error {
    let remedy = "is there such a folder, and room in it?";
    Error::File { path: path.display().to_string(), source, remedy }
}

/// On what times were taken.
struct Timed {
    adapter: String,
    elem: Elem,
    batch: u32,
}

/// Times every row.
fn time(arguments: &Arguments, lines: &mut [Line]) -> Result<Timed, Error> {
    let mut machine = Machine::open(&arguments.machine)?;
    let capabilities = machine.device.capabilities().clone();
    let elem = if capabilities.f16 && !arguments.f32 { Elem::F16 } else { Elem::F32 };
    let usual = match (capabilities.software, arguments.table) {
        (true, _) => 1,
        (false, Which::Fpn) => 4,
        (false, _) => 64,
    };
    let batch = arguments.batch.unwrap_or(usual);
    let progress = Progress::new("timing", 0, 2 * lines.len() as u64);
    for line in lines {
        let [height, width, channels] = line.told.image;
        let images = [batch as usize, height, width, channels];
        let model = line.told.network.model();
        for task in TASKS {
            let subject = ModelSubject { model, images, elem, task };
            let measured = loop {
                match subject.measure(&machine.device, &machine.pipelines).map_err(Error::from) {
                    Err(error) if error.is_lost_device() => {
                        machine = machine.without_fragments(&arguments.machine, error)?;
                    }
                    measured => break measured.map_err(|error| error::one_line(&error)),
                }
            };
            progress.advance(&format!("{} {task}", line.told.row));
            line.timed.push(measured);
        }
    }
    progress.finish();
    Ok(Timed { adapter: machine.name().to_owned(), elem, batch })
}

/// Millions.
fn mega(number: f64) -> f64 {
    number / 1e6
}

/// By how many hundredths one number is off another.
fn off(ours: f64, theirs: f64) -> String {
    format!("{:+.1} %", 100.0 * (ours / theirs - 1.0))
}

impl Line {
    fn counted(told: Published) -> Result<Self, Error> {
        let count = Count::of(told.network.model(), told.image, 1)?;
        let parameters = [count.parameters, count.parameters_without_norms].map(|number| mega(number as f64));
        Ok(Self { multiply_adds: mega(count.multiply_adds() as f64), parameters, told, timed: Vec::new() })
    }

    /// Parameters with norms or without, whichever is nearer to what is published: some rows count them, some do not.
    fn nearer_parameters(&self) -> f64 {
        let [all, without] = self.parameters;
        match self.told.figures.parameters {
            Some(told) if (without - told).abs() < (all - told).abs() => without,
            _ => all,
        }
    }

    fn throughput(&self, task: usize) -> Option<Duration> {
        Some(self.timed.get(task)?.as_ref().ok()?.throughput)
    }

    #[cfg(feature = "plot")]
    fn point(&self) -> Option<super::picture::Point> {
        let name = self.told.row.clone();
        let tokens = name.starts_with("VT-");
        let forward = self.throughput(0)?.as_secs_f64() * 1e3;
        Some(super::picture::Point { name, accuracy: self.told.accuracy?, forward, tokens })
    }

    fn json(&self) -> Value {
        let milliseconds = |task| self.throughput(task).map(|time| time.as_secs_f64() * 1e3);
        let reasons: Vec<&String> = self.timed.iter().filter_map(|measured| measured.as_ref().err()).collect();
        json!({
            "row": self.told.row,
            "place": self.told.place,
            "model": self.told.network.model().name(),
            "image": self.told.image,
            "accuracy": self.told.accuracy,
            "macs": self.multiply_adds * 1e6,
            "macs_published": self.told.figures.multiply_adds * 1e6,
            "parameters": self.parameters[0] * 1e6,
            "parameters_without_norms": self.parameters[1] * 1e6,
            "parameters_published": self.told.figures.parameters.map(|number| number * 1e6),
            "forward_ms": milliseconds(0),
            "training_ms": milliseconds(1),
            "remark": self.told.remark,
            "reasons": reasons,
        })
    }
}

fn text(lines: &[Line], timed: Option<&Timed>) -> String {
    let of_pixels = lines.iter().any(|line| line.told.network.model().target() == Target::Pixels);
    let (unit, scale) = if of_pixels { ("G MACs there", 1e3) } else { ("M MACs there", 1.0) };
    let right = |head| (head, Align::Right);
    let mut columns = vec![("network", Align::Left), right(if of_pixels { "mIoU there" } else { "top-1 there" })];
    columns.extend([unit, "here", "off"].map(right));
    if !of_pixels {
        columns.extend(["M parameters there", "here", "off"].map(right));
    }
    if timed.is_some() {
        columns.extend(["forward", "images/s", "training", "images/s"].map(right));
    }
    let mut table = Table::new(&columns);
    for line in lines {
        let figures = line.told.figures;
        let number = |millions: f64| format!("{:.1$}", millions / scale, if of_pixels { 2 } else { 0 });
        let mut cells = vec![line.told.row.clone(), line.told.accuracy.map_or_else(String::new, |top| top.to_string())];
        cells.extend([number(figures.multiply_adds), number(line.multiply_adds)]);
        cells.push(off(line.multiply_adds, figures.multiply_adds));
        if let (false, Some(parameters)) = (of_pixels, figures.parameters) {
            let ours = line.nearer_parameters();
            cells.extend([format!("{parameters}"), format!("{ours:.2}"), off(ours, parameters)]);
        }
        for task in 0..line.timed.len() {
            let batch = f64::from(timed.map_or(0, |timed| timed.batch));
            let time = line.throughput(task).map(|time| time.as_secs_f64());
            cells.push(time.map_or_else(|| "not run".to_owned(), |time| format!("{:.2} ms", time * 1e3)));
            cells.push(time.map_or_else(String::new, |time| format!("{:.0}", batch / time)));
        }
        table.row(cells);
    }
    let mut text = table.text();
    if let Some(Timed { adapter, elem, batch }) = timed {
        text += &format!("\nTimes: {adapter}, batches of {batch} in {elem}, many after each other.\n");
    }
    for line in lines {
        text += &line.told.remark.map_or_else(String::new, |remark| format!("\n{}: {remark}.\n", line.told.row));
        for reason in line.timed.iter().filter_map(|measured| measured.as_ref().err()) {
            text += &format!("\nnot run: {}: {reason}\n", line.told.row);
        }
    }
    text
}
