//! `vistok profile`: where the time of a model goes, as a table and as a trace for chrome://tracing or Perfetto.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::WARM_UP;
use vistok::gpu::{Executor, StepTime};
use vistok::graph::{Cost, Graph, Tensor};
use vistok::train::files;

use super::machine::{Machine, MachineArgument};
use super::subject::SubjectArguments;
use super::table::{Align, Table};
use super::{Error, speak};

/// Run a model and measure each kernel call; write a trace with a track for the CPU and one for the GPU.
///
/// Open the trace in chrome://tracing or ui.perfetto.dev: calls are named by kernel and place in the model, with shapes,
/// grid and build. Between timestamps calls cannot overlap, so together they take a little longer than in a plain run.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// Where the trace goes.
    #[arg(long, value_name = "FILE", default_value = "trace.json")]
    out: PathBuf,
    /// One JSON document on standard output: `kernels`, `parts` and `steps`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgument,
}

/// Timed runs, of which the one with the median total is shown.
const RUNS: usize = 5;
/// What no part of the model has: losses, updates.
const OUTSIDE: &str = "(outside)";
/// The longest calls that the table shows.
const LONGEST: usize = 15;
/// The inputs of a call that the table shows: some ops take every gradient of a model.
const SHOWN: usize = 4;

/// What the CPU did: name, start and end.
type Span = (&'static str, Instant, Instant);

/// Measures and writes.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let model = arguments.subject.model()?;
    let subject = arguments.subject.of(&*model);
    // Before minutes are spent: is there a place for the trace?
    let remedy = "give another place with --out";
    let file_error = |source| Error::File { path: arguments.out.display().to_string(), source, remedy };
    let folder = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    files::probe(folder.unwrap_or(std::path::Path::new("."))).map_err(file_error)?;
    if arguments.out.is_dir() || arguments.out.file_name().is_none() {
        return Err(file_error(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut spans: Vec<Span> = Vec::new();
    let began = Instant::now();
    let (machine, (graph, executor)) =
        Machine::prepare(&arguments.machine, |machine| Ok(subject.prepare(&machine.device, &machine.pipelines)?))?;
    spans.push(("plan, compile and upload", began, Instant::now()));
    let times = measure(&machine, &executor, &mut spans)?;
    let profile = Profile { graph: &graph, executor: &executor, times: &times };
    files::replace(&arguments.out, profile.trace(began, &spans).to_string().as_bytes()).map_err(file_error)?;
    let (name, out) = (machine.name(), arguments.out.display());
    let [kernels, parts, longest] = [profile.by_kernel(), profile.by_part(), profile.longest()];
    let text = format!("{name}\n\n{kernels}\n{parts}\n{longest}\nWritten:\n  {out}\n");
    speak::report(arguments.json, &text)?;
    match arguments.json {
        true => speak::say_json(&profile.json(name)),
        false => Ok(()),
    }
}

/// One plain run for the CPU's track, then timed ones.
fn measure(machine: &Machine, executor: &Executor, spans: &mut Vec<Span>) -> Result<Vec<StepTime>, Error> {
    let warming = Instant::now();
    loop {
        executor.run()?;
        machine.device.wait("warming up")?;
        if warming.elapsed() >= WARM_UP || machine.device.capabilities().software {
            break;
        }
    }
    let recording = Instant::now();
    spans.push(("warm up", warming, recording));
    executor.run()?;
    let submitted = Instant::now();
    spans.push(("record and submit", recording, submitted));
    machine.device.wait("running a plan")?;
    spans.push(("wait", submitted, Instant::now()));
    let mut runs = (0..RUNS).map(|_| executor.run_timed()).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|times| times.iter().map(|time| time.nanoseconds).sum::<u64>());
    Ok(runs.swap_remove(RUNS / 2))
}

struct Profile<'a> {
    graph: &'a Graph,
    executor: &'a Executor,
    times: &'a [StepTime],
}

impl Profile<'_> {
    fn total(&self) -> f64 {
        self.times.iter().map(|time| time.nanoseconds as f64).sum::<f64>().max(1.0)
    }

    /// Op and place of a step's node, the shapes of its inputs, and what the node costs.
    fn node(&self, step: usize) -> (String, Vec<String>, Cost) {
        let planned = self.executor.plan().node_of(step);
        let node = &self.graph.nodes()[planned.node];
        let tensors = |values: &[vistok::graph::Value]| -> Vec<Tensor> {
            values.iter().map(|&value| self.graph.tensor(value).clone()).collect()
        };
        let inputs = tensors(&node.inputs);
        let shapes = inputs.iter().map(ToString::to_string).collect();
        (planned.label.clone(), shapes, node.op.cost(&inputs, &tensors(&node.outputs)))
    }

    fn trace(&self, origin: Instant, spans: &[Span]) -> Value {
        let since = |at: Instant| at.duration_since(origin).as_secs_f64() * 1e6;
        let name =
            |pid: u32, name: &str| json!({ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": name } });
        let mut events = vec![name(1, "CPU"), name(2, "GPU")];
        events.extend(spans.iter().map(|(name, start, end)| {
            json!({ "ph": "X", "name": name, "pid": 1, "tid": 1, "ts": since(*start), "dur": since(*end) - since(*start) })
        }));
        // The GPU's clock is its own: its track starts where the plain run was submitted.
        let mut at = spans.iter().find(|span| span.0 == "wait").map_or(0.0, |span| since(span.1));
        for time in self.times {
            let step = &self.executor.plan().steps()[time.step];
            let (label, shapes, _) = self.node(time.step);
            let duration = time.nanoseconds as f64 / 1e3;
            let args = json!({ "at": label, "inputs": shapes.join(", "), "grid": step.grid.0, "build": step.variant.to_string() });
            events.push(json!({ "ph": "X", "name": step.kernel.name, "pid": 2, "tid": 1, "ts": at, "dur": duration, "args": args }));
            at += duration;
        }
        json!({ "displayTimeUnit": "ms", "traceEvents": events })
    }

    fn by_kernel(&self) -> String {
        let mut table = Table::new(&[
            ("kernel", Align::Left),
            ("calls", Align::Right),
            ("time", Align::Right),
            ("share", Align::Right),
        ]);
        for time in self.executor.by_kernel(self.times) {
            let share = 100.0 * time.nanoseconds as f64 / self.total();
            let cells = [time.steps.to_string(), milliseconds(time.nanoseconds), format!("{share:.1} %")];
            table.row([time.kernel.to_owned()].into_iter().chain(cells).collect());
        }
        let total = milliseconds(self.total() as u64);
        format!("{}{} calls, {total} together\n", table.text(), self.times.len())
    }

    /// The model's parts in the order in which they are first met, each with its calls and their time together.
    fn parts(&self) -> Vec<(&str, usize, u64)> {
        let mut parts: Vec<(&str, usize, u64)> = Vec::new();
        for time in self.times {
            let scope = &self.executor.plan().node_of(time.step).scope;
            let name = match scope.split('/').next() {
                None | Some("") => OUTSIDE,
                Some(part) => part.trim_end_matches('\''), // gradients are made where values were
            };
            let at = parts.iter().position(|part| part.0 == name).unwrap_or_else(|| {
                parts.push((name, 0, 0));
                parts.len() - 1
            });
            parts[at].1 += 1;
            parts[at].2 += time.nanoseconds;
        }
        parts
    }

    fn by_part(&self) -> String {
        let right = ["calls", "time", "share"].map(|head| (head, Align::Right));
        let mut table = Table::new(&[&[("part", Align::Left)], &right[..]].concat());
        for (name, calls, nanoseconds) in self.parts() {
            let share = format!("{:.1} %", 100.0 * nanoseconds as f64 / self.total());
            table.row(vec![name.to_owned(), calls.to_string(), milliseconds(nanoseconds), share]);
        }
        table.text()
    }

    /// The nodes that take longest, all their calls together.
    fn longest(&self) -> String {
        let columns =
            [("node", Align::Left), ("inputs", Align::Left), ("time", Align::Right), ("TFLOP/s", Align::Right)];
        let mut table = Table::new(&[&columns[..], &[("GB/s", Align::Right)]].concat());
        let mut nodes: Vec<(u64, usize)> = Vec::new();
        for planned in self.executor.plan().nodes() {
            let times = self.times.iter().filter(|time| planned.steps.contains(&time.step));
            nodes.push((times.map(|time| time.nanoseconds).sum(), planned.steps.start));
        }
        nodes.sort_unstable_by_key(|&(time, step)| (std::cmp::Reverse(time), step));
        for (time, step) in nodes.into_iter().take(LONGEST).filter(|(time, _)| *time > 0) {
            let (label, mut shapes, cost) = self.node(step);
            if shapes.len() > SHOWN {
                let others = format!("and {} more", shapes.len() - SHOWN);
                shapes.splice(SHOWN.., [others]);
            }
            let rate = |amount: f64| format!("{:.1}", amount / time as f64);
            let flops =
                if cost.multiply_adds > 0 { rate(2.0 * cost.multiply_adds as f64 / 1e3) } else { String::new() };
            table.row(vec![label, shapes.join(", "), milliseconds(time), flops, rate(cost.bytes as f64)]);
        }
        table.text()
    }

    fn json(&self, adapter: &str) -> Value {
        let kernels = self.executor.by_kernel(self.times).into_iter().map(
            |time| json!({ "kernel": time.kernel, "calls": time.steps, "milliseconds": time.nanoseconds as f64 / 1e6 }),
        );
        let steps = self.times.iter().map(|time| {
            let (label, shapes, cost) = self.node(time.step);
            let kernel = self.executor.plan().steps()[time.step].kernel.name;
            let milliseconds = time.nanoseconds as f64 / 1e6;
            json!({
                "kernel": kernel, "at": label, "inputs": shapes.join(", "), "milliseconds": milliseconds,
                "node_multiply_adds": cost.multiply_adds, "node_bytes": cost.bytes,
            })
        });
        let parts = self
            .parts()
            .into_iter()
            .map(|(part, calls, time)| json!({ "part": part, "calls": calls, "milliseconds": time as f64 / 1e6 }));
        json!({
            "adapter": adapter, "kernels": kernels.collect::<Vec<_>>(), "parts": parts.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.3} ms", nanoseconds as f64 / 1e6)
}
