//! Do pieces cost speed? The crate's matmul and convolution beside hand-fused WGSL, interleaved, on one GPU.
//!
//! `cargo bench --bench seam -- [--json FILE] [--rounds N] [FILTER]`; `--test` proves every candidate on tiny sizes.

#[path = "seam/candidate.rs"]
mod candidate;
#[path = "seam/fused.rs"]
mod fused;
#[path = "seam/pieces.rs"]
mod pieces;
#[path = "seam/problem.rs"]
mod problem;
#[path = "seam/timing.rs"]
mod timing;

use std::process::ExitCode;
use std::sync::Arc;

use candidate::{Candidate, Place, from_op};
use problem::{Inputs, Problem};
use rayon::prelude::*;
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::graph::{Op, Tensor};
use vistok::kernel::{Capabilities, Elem, Fragment, Recording, Reflection, compose, disagreements};
use vistok::ops::Add;

const USAGE: &str = "usage: seam [--test] [--json FILE] [--rounds N] [FILTER]";

/// ResNet-50's 3x3 convolutions of stride 1 at batch 32 (its fourth, 7x7x512, has no whole tiles), and two products.
const MEASURED: [Problem; 5] = [
    Problem::square(4096),
    Problem::square(1024),
    Problem::Conv { images: 32, height: 56, width: 56, channels: 64, outputs: 64 },
    Problem::Conv { images: 32, height: 28, width: 28, channels: 128, outputs: 128 },
    Problem::Conv { images: 32, height: 14, width: 14, channels: 256, outputs: 256 },
];

/// No side equal to another, several tiles each way, several turns of every loop.
const TINY: [Problem; 3] = [
    Problem::Gemm { m: 384, n: 256, k: 192 },
    Problem::Conv { images: 2, height: 16, width: 8, channels: 64, outputs: 128 },
    Problem::Conv { images: 3, height: 16, width: 8, channels: 128, outputs: 64 },
];

struct Options {
    is_test: bool,
    json: Option<String>,
    rounds: usize,
    filter: String,
}

fn options() -> Result<Options, String> {
    let mut options = Options { is_test: false, json: None, rounds: 9, filter: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value; {USAGE}"));
        match word.as_str() {
            "--test" => options.is_test = true,
            "--bench" => {} // what `cargo bench` passes
            "--json" => options.json = Some(value()?),
            "--rounds" => options.rounds = value()?.parse().map_err(|_| USAGE.to_owned())?,
            flag if flag.starts_with('-') => return Err(format!("{flag} is unknown; {USAGE}")),
            _ => options.filter = word,
        }
    }
    options.rounds = options.rounds.max(1);
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| if options.is_test { test(&options) } else { measure(&options) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("seam: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn open() -> Result<Device, String> {
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    Device::open(&options).map_err(|error| error.to_string())
}

/// One row to be made: the calls, and all that verifying them takes.
struct Row {
    name: String,
    problem: Problem,
    elem: Elem,
    recording: Recording,
}

/// The rows for a problem. An op that does it joins by pushing a row whose recording is `candidate::record`'s.
fn rows(problem: Problem, elem: Elem, machine: &Capabilities) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for control in fused::controls(problem, elem) {
        let name = control.name();
        if control.needs_fragments() && machine.fragment.is_none() {
            println!("{name:<42} {:<30} skipped: this adapter has no cooperative matrices", problem.label());
            continue;
        }
        let recording = control.recording(problem, (machine.fragment, machine.subgroup.unwrap_or(1)))?;
        rows.push(Row { name, problem, elem, recording });
    }
    for (name, recording) in pieces::recordings(problem, elem, machine)? {
        rows.push(Row { name, problem, elem, recording });
    }
    Ok(rows)
}

fn is_wanted(filter: &str, problem: Problem, elem: Elem) -> bool {
    format!("{} {elem}", problem.label()).contains(filter)
}

/// Makes a row a candidate and proves its output. Nothing that computes wrongly is ever timed.
fn proven<'a>(place: Place<'a>, row: &Row, inputs: &Inputs) -> Result<Candidate<'a>, String> {
    let Row { name, problem, elem, recording } = row;
    let says = |error: &dyn std::fmt::Display| format!("{name}, {} {elem}: {error}", problem.label());
    let candidate = Candidate::recorded(place, name.clone(), (*problem, *elem), inputs, recording);
    let candidate = candidate.map_err(|error| says(&error))?;
    candidate.bare.run(1).map_err(|error| says(&error))?;
    let output = candidate.bare.output(0).map_err(|error| says(&error))?;
    problem.verify(*elem, inputs, &output).map_err(|error| says(&error))?;
    Ok(candidate)
}

fn measure(options: &Options) -> Result<(), String> {
    let device = open()?;
    let pipelines = Pipelines::new(&device, None);
    let place = Place { device: &device, pipelines: &pipelines };
    println!("{} ({})", device.info().name, device.info().driver_info);
    let mut all = Vec::new();
    for problem in MEASURED {
        for elem in [Elem::F32, Elem::F16] {
            if is_wanted(&options.filter, problem, elem) && (elem == Elem::F32 || device.capabilities().f16) {
                all.push((problem, elem, rows(problem, elem, device.capabilities())?));
            }
        }
    }
    // Compiling lets the card's clock fall, so all of it comes first.
    let dispatches = all.iter().flat_map(|(_, _, rows)| rows).flat_map(|row| &row.recording.dispatches);
    if let Err(error) = pipelines.build(&device, dispatches) {
        // Below each candidate is built by itself, so that one that a driver refuses does not cost the others.
        eprintln!("{error}");
    }
    let mut candidates = Vec::new();
    let mut wrong = Vec::new();
    for (problem, elem, rows) in &all {
        let inputs = problem.draw(*elem);
        for row in rows {
            match proven(place, row, &inputs) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) => wrong.push(reason),
            }
        }
    }
    device.check("proving the candidates").map_err(|error| error.to_string())?;
    let times = timing::interleaved(&candidates, options.rounds).map_err(|error| error.to_string())?;
    timing::report(&candidates, &times, options.json.as_deref())?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("not timed, because wrong:\n{}", wrong.join("\n"))) }
}

/// Every text as far as SPIR-V at its full size, then every candidate against the truth on tiny sizes.
fn test(options: &Options) -> Result<(), String> {
    let big = Capabilities { fragment: Some(Fragment::Sixteen), subgroup: Some(32), ..Capabilities::portable() };
    let mut texts = Vec::new();
    for problem in MEASURED {
        for elem in [Elem::F32, Elem::F16] {
            texts.extend(rows(problem, elem, &big)?);
        }
    }
    texts.par_iter().try_for_each(translates)?;
    println!("{} texts translate", texts.len());
    let device = match open() {
        Ok(device) => device,
        Err(reason) => {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
    let pipelines = Pipelines::new(&device, None);
    let place = Place { device: &device, pipelines: &pipelines };
    println!("{}: fragments {:?}", device.info().name, device.capabilities().fragment);
    let mut wrong = Vec::new();
    for problem in TINY {
        for elem in [Elem::F32, Elem::F16] {
            let can = elem == Elem::F32 || device.capabilities().f16;
            if !can || !is_wanted(&options.filter, problem, elem) {
                continue;
            }
            let inputs = problem.draw(elem);
            for row in rows(problem, elem, device.capabilities())? {
                let proof = guarded(place, &row, &inputs);
                let verdict = proof.as_ref().map_or("WRONG", |()| "right");
                println!("{:<42} {:<30} {verdict}", row.name, problem.label());
                wrong.extend(proof.err());
            }
        }
    }
    wrong.extend(an_op_is_a_candidate(place).err());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn guarded(place: Place<'_>, row: &Row, inputs: &Inputs) -> Result<(), String> {
    let candidate = proven(place, row, inputs)?;
    match candidate.bare.broken_guards().map_err(|error| error.to_string())? {
        broken if broken.is_empty() => Ok(()),
        broken => Err(format!("{}, {}: wrote past {broken:?}", candidate.name, candidate.shape)),
    }
}

fn translates(row: &Row) -> Result<(), String> {
    for dispatch in &row.recording.dispatches {
        let says = |reason: String| format!("{}: {reason}", dispatch.kernel.name);
        let text = compose(dispatch.kernel, &dispatch.variant).map_err(|error| says(error.to_string()))?;
        let reflection = Reflection::of(&text).map_err(says)?;
        let found = disagreements(dispatch.kernel, &reflection);
        if !found.is_empty() {
            return Err(says(found.join("; ")));
        }
        let options = naga::back::spv::Options { lang_version: (1, 6), ..Default::default() };
        naga::back::spv::write_vec(&reflection.module, &reflection.info, &options, None)
            .map_err(|error| says(error.to_string()))?;
    }
    Ok(())
}

fn an_op_is_a_candidate(place: Place<'_>) -> Result<(), String> {
    let add: Arc<dyn Op> = Arc::new(Add);
    let tensor = Tensor::f32([3, 257]);
    let numbers: Vec<f32> = (0..771u16).map(f32::from).collect();
    let bytes = bytemuck::cast_slice(&numbers).to_vec();
    let pair = [tensor.clone(), tensor.clone()];
    let candidate = from_op(place, &add, (&pair, &[bytes.clone(), bytes]), tensor.shape.to_string())?;
    candidate.bare.run(1).map_err(|error| error.to_string())?;
    let output = candidate.bare.output(0).map_err(|error| error.to_string())?;
    let doubled: Vec<u8> = numbers.iter().flat_map(|number| (2.0 * number).to_le_bytes()).collect();
    if output != doubled {
        return Err(format!("{} as a candidate computes wrongly", candidate.name));
    }
    println!("{:<42} {:<30} right", candidate.name, candidate.shape);
    Ok(())
}
