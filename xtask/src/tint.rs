//! `cargo xtask check tint`: every build that a browser may get, compiled by the compiler that Chromium has for WGSL.
//!
//! Tint's rules are stricter than naga's: barriers stand in control flow that it can prove uniform.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::packages;
use crate::page_server::{Message, Server};
use crate::translations::Translations;

const PAGE: &str = include_str!("tint.html");
/// The longest that a browser may say nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// Texts that must be refused, and a word of the reason.
const CANARIES: [(&str, &str, &str, &str); 3] = [
    (
        "a barrier that only one lane meets",
        "w",
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n\
         var<workgroup> shared_y: array<f32, 64>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {\n\
         shared_y[lane] = y[lane];\n\
         if lane == 3u { workgroupBarrier(); }\n\
         y[lane] = shared_y[63u - lane];\n}\n",
        "uniform control flow",
    ),
    (
        "a barrier in a loop whose end another lane may write",
        "w",
        "@group(0) @binding(0) var<storage, read_write> y: array<u32>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {\n\
         for (var i = 0u; i < y[0]; i++) { workgroupBarrier(); }\n\
         y[lane + 1u] = lane;\n}\n",
        "uniform control flow",
    ),
    (
        "more workgroup memory than every browser offers",
        "w",
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n\
         var<workgroup> large: array<f32, 4200>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {\n\
         large[lane] = y[lane];\n workgroupBarrier();\n y[lane] = large[4199u - lane];\n}\n",
        "pipeline: ",
    ),
];

/// What the browser has told so far.
#[derive(Default)]
struct Told {
    adapter: String,
    halves: bool,
    modules: usize,
    pipelines: usize,
    /// What Tint said against a build, by its number.
    faults: BTreeMap<String, String>,
}

/// Has Chromium compile every build without cooperative matrices, which no browser has.
pub fn check(translations: &Translations) -> Result<ExitCode, String> {
    packages::ensure("chromium", "chromium")?;
    let mut list = String::new();
    let mut names = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for build in translations.builds.iter().filter(|build| !build.needs("cooperative")) {
        let number = build.number.to_string();
        let path = translations.folder.join(format!("{number}.wgsl"));
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        // One pipeline for each choice of pieces: layouts do not depend on a build's numbers, limits are known of all
        // builds, and SwiftShader takes half a second for each.
        let numbers = if build.name.contains('=') { ",numbers" } else { "" };
        list += &format!("{number}\t{}{numbers}\t{}\n", build.needs, build.bindings);
        names.insert(number.clone(), build.name.clone());
        texts.insert(number, text);
    }
    for (at, (_, bindings, text, _)) in CANARIES.iter().enumerate() {
        list += &format!("canary{at}\t\t{bindings}\n");
        texts.insert(format!("canary{at}"), (*text).to_owned());
    }
    let started = Instant::now();
    let server = Server::start(PAGE, list, texts)?;
    let told = browse(&server)?;
    report(told, &names, started.elapsed())
}

fn report(mut told: Told, names: &BTreeMap<String, String>, took: Duration) -> Result<ExitCode, String> {
    for (at, (name, _, _, reason)) in CANARIES.iter().enumerate() {
        match told.faults.remove(&format!("canary{at}")) {
            Some(said) if said.contains(reason) => {}
            said => return Err(format!("{name} was not refused for that: {said:?}")),
        }
    }
    for (number, said) in &told.faults {
        println!("{}: {said}\n    (line numbers are those of target/translations/{number}.wgsl)", names[number]);
    }
    let checked = told.modules + told.pipelines + told.faults.len();
    if checked != names.len() {
        return Err(format!("the browser told of {checked} builds, not {}", names.len()));
    }
    let halves = if told.halves { "" } else { "; this adapter has no f16: f32 stood in for it, without pipelines" };
    println!(
        "Tint on {}: {} of {checked} builds are wrong; {} became pipelines, {} modules only{halves}; {} wrong texts were \
         refused; {:.1} s",
        told.adapter,
        told.faults.len(),
        told.pipelines,
        told.modules,
        CANARIES.len(),
        took.as_secs_f64(),
    );
    Ok(if told.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A browser that ends with us, and its profile with it.
struct Browser {
    child: Child,
    profile: std::path::PathBuf,
}

impl Browser {
    fn start(address: &str) -> Result<Self, String> {
        let profile = crate::repository().join(format!("target/chromium-profile-{}", std::process::id()));
        // The middle row keeps it off the network.
        let flags = [
            "--headless --no-sandbox --no-first-run",
            "--disable-quic --disable-background-networking --disable-component-update --disable-sync",
            "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader",
        ];
        let mut command = Command::new("chromium");
        command.args(flags.iter().flat_map(|row| row.split(' ')));
        command.arg(format!("--user-data-dir={}", profile.display())).arg(address);
        println!("   {}", crate::steps::shown(&command));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|error| format!("cannot start chromium: {error}"))?, profile })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

fn browse(server: &Server) -> Result<Told, String> {
    let mut browser = Browser::start(&server.address())?;
    let mut told = Told::default();
    let mut heard = Instant::now();
    loop {
        let message = match server.messages.recv_timeout(Duration::from_millis(500)) {
            Ok(message) => message,
            Err(RecvTimeoutError::Disconnected) => return Err("the page's server ended".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                if let Ok(Some(status)) = browser.child.try_wait() {
                    return Err(format!("chromium ended ({status}) before the page was done"));
                }
                if heard.elapsed() > PATIENCE {
                    return Err(format!("the browser said nothing for {} s", PATIENCE.as_secs()));
                }
                continue;
            }
        };
        heard = Instant::now();
        let Message { what, text } = message;
        let (first, rest) = text.split_once('\t').unwrap_or((&text, ""));
        match what.as_str() {
            "adapter" => (told.adapter, told.halves) = (first.to_owned(), rest == "f16"),
            "module" => told.modules += 1,
            "pipeline" => told.pipelines += 1,
            "fault" => _ = told.faults.insert(first.to_owned(), rest.to_owned()),
            "done" => return Ok(told),
            _ => return Err(format!("the page gave up: {text}")),
        }
    }
}
