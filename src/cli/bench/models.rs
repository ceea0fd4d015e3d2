//! Whole models, one a row.

use std::time::Duration;

use serde_json::{Value, json};
use vistok::bench::{ModelMeasurement, ModelSubject, Task};
use vistok::kernel::Elem;
use vistok::models::Network;

use super::Arguments;
use super::peer::{Key, Peer};
use crate::cli::machine::Machine;
use crate::cli::progress::Progress;
use crate::cli::table::{Align, Table};
use crate::cli::{Error, error, presets, speak};

/// A model, the size of its images, and for each task its batches.
struct Entry {
    network: Network,
    image: [usize; 3],
    forward: &'static [usize],
    training: &'static [usize],
}

/// A row.
struct Line {
    key: Key,
    images: [usize; 4],
    /// The network in words, for a peer to build it by.
    network: String,
    measured: Result<ModelMeasurement, String>,
    peer: Option<Duration>,
}

fn entries(software: bool) -> Result<Vec<Entry>, Error> {
    let entry = |name: &str, forward, training| -> Result<Entry, Error> {
        let small = presets::Sizes { image: [28, 28, 1], classes: 10 };
        let sizes = if software { small } else { presets::published(name) };
        Ok(Entry { network: Network::named(name, sizes.classes)?, image: sizes.image, forward, training })
    };
    match software {
        true => Ok(vec![
            entry("resnet-small", &[4], &[4])?,
            entry("vt-resnet-demo", &[4], &[4])?,
            entry("vt-fpn-small", &[4], &[4])?,
        ]),
        false => Ok(vec![
            entry("resnet18", &[1, 64], &[64])?,
            entry("resnet50", &[1, 64], &[32, 64])?,
            entry("resnet50-se", &[64], &[64])?,
            entry("resnet50-cbam", &[64], &[64])?,
            entry("lr-resnet50", &[64], &[64])?,
            entry("aa-resnet50", &[64], &[64])?,
            entry("vt-resnet18", &[1, 64], &[64])?,
            entry("vt-resnet50", &[1, 64], &[64])?,
            entry("fpn-resnet50", &[4], &[4])?,
            entry("vt-fpn-resnet50", &[4], &[4])?,
        ]),
    }
}

pub(super) fn run(arguments: &Arguments, filter: Option<&str>, peer: Option<&Peer>) -> Result<(), Error> {
    let mut machine = Machine::open(&arguments.machine)?;
    let capabilities = machine.device.capabilities().clone();
    let elems = if capabilities.f16 { &[Elem::F32, Elem::F16][..] } else { &[Elem::F32] };
    let entries = entries(capabilities.software)?;
    let mut all: Vec<(Key, String, ModelSubject<'_>)> = Vec::new();
    for Entry { network, image: [height, width, channels], forward, training } in &entries {
        let again = if capabilities.software { &[] } else { *training };
        for (task, batches) in [(Task::Forward, *forward), (Task::Training, *training), (Task::StemAgain, again)] {
            for (&batch, &elem) in batches.iter().flat_map(|batch| elems.iter().map(move |elem| (batch, elem))) {
                let images = [batch, *height, *width, *channels];
                let shape = format!("{batch}x{height}x{width}x{channels}");
                let model = network.model();
                let key = [model.name().to_owned(), shape, elem.to_string(), task.to_string(), String::new()];
                all.push((key, network.to_string(), ModelSubject { model, images, elem, task }));
            }
        }
    }
    let count = all.len();
    if let Some(filter) = filter {
        // With a blank before and behind, so that a filter can ask for a whole name: ` resnet50 `.
        all.retain(|(key, ..)| format!(" {} ", key.join(" ").trim_end()).contains(filter));
        if all.is_empty() {
            return Err(Error::Filter { filter: filter.to_owned(), count, what: "models", command: "bench models" });
        }
    }
    let progress = Progress::new("timing", 0, all.len() as u64);
    let mut lines = Vec::with_capacity(all.len());
    for (key, network, subject) in all {
        let measured = loop {
            match subject.measure(&machine.device, &machine.pipelines).map_err(Error::from) {
                Err(error) if error.is_lost_device() => {
                    machine = machine.without_fragments(&arguments.machine, error)?;
                }
                measured => break measured.map_err(|error| error::one_line(&error)),
            }
        };
        progress.advance(key.join(" ").trim_end());
        let peer = peer.and_then(|peer| peer.time(&key));
        lines.push(Line { key, images: subject.images, network, measured, peer });
    }
    progress.finish();
    speak::report(arguments.json, &text(&lines, peer))?;
    if arguments.json {
        let rows: Vec<Value> = lines.iter().map(Line::json).collect();
        let software = capabilities.software;
        speak::say_json(&json!({ "adapter": machine.name(), "suite": "models", "software": software, "rows": rows }))?;
    }
    match lines.iter().any(|line| line.measured.is_ok()) {
        true => Ok(()),
        false => Err(Error::Refused("nothing was measured; the table says why".to_owned())),
    }
}

impl Line {
    fn throughput(&self) -> Option<Duration> {
        self.measured.as_ref().ok().map(|measured| measured.throughput)
    }

    fn json(&self) -> Value {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let [name, shape, element, pass, _] = &self.key;
        let measured = self.measured.as_ref().ok();
        json!({
            "name": name,
            "shape": shape,
            "element": element,
            "pass": pass,
            "images": self.images,
            "network": serde_json::from_str::<Value>(&self.network).ok(),
            "throughput_ms": measured.map(|one| milliseconds(one.throughput)),
            "latency_ms": measured.map(|one| milliseconds(one.latency)),
            "recording_ms": measured.map(|one| milliseconds(one.recording)),
            "submitting_ms": measured.map(|one| milliseconds(one.submitting)),
            "peer_ms": self.peer.map(milliseconds),
            "dispatches": measured.map(|one| one.dispatches),
            "pipelines": measured.map(|one| one.pipelines),
            "peak_bytes": measured.map(|one| one.peak_bytes),
            "multiply_adds": measured.map(|one| one.multiply_adds),
            "reason": self.measured.as_ref().err(),
        })
    }
}

fn text(lines: &[Line], peer: Option<&Peer>) -> String {
    let left = ["model", "images", "element", "pass"].map(|head| (head, Align::Left));
    let right = ["a run", "images/s", "TFLOP/s", "latency", "recording", "submitting", "dispatches", "builds", "MiB"];
    let mut columns: Vec<(&str, Align)> = left.into_iter().chain(right.map(|head| (head, Align::Right))).collect();
    columns.extend(peer.map(|_| super::peer::COLUMNS).into_iter().flatten());
    let mut table = Table::new(&columns);
    for line in lines {
        let cells = match &line.measured {
            Err(_) => vec![super::NOT_RUN.to_owned()],
            Ok(one) => {
                let milliseconds = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
                let seconds = one.throughput.as_secs_f64();
                let each = one.recording.as_secs_f64() * 1e6 / one.dispatches.max(1) as f64;
                vec![
                    milliseconds(one.throughput),
                    format!("{:.0}", line.images[0] as f64 / seconds),
                    format!("{:.2}", 2.0 * one.multiply_adds as f64 / seconds / 1e12),
                    milliseconds(one.latency),
                    format!("{each:.2} us each"),
                    milliseconds(one.submitting),
                    one.dispatches.to_string(),
                    one.pipelines.to_string(),
                    format!("{:.0}", one.peak_bytes as f64 / f64::from(1 << 20)),
                ]
            }
        };
        let beside = peer.map(|_| super::peer::cells(line.throughput(), line.peer)).into_iter().flatten();
        let cells: Vec<String> = line.key[..left.len()].iter().cloned().chain(cells).collect();
        let blanks = std::iter::repeat_n(String::new(), left.len() + right.len() - cells.len());
        table.row(cells.iter().cloned().chain(blanks).chain(beside).collect());
    }
    let ratios = lines.iter().filter_map(|line| Some((line.peer?, line.throughput()?)));
    let reasons = lines.iter().filter_map(|line| Some((line.key.join(" "), line.measured.as_ref().err()?)));
    table.text() + &super::reasons(reasons) + &peer.map(|peer| peer.summary(ratios)).unwrap_or_default()
}
