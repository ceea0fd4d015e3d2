//! Runs the GPU tests on another driver than this machine's, under Vulkan's validation layer, or both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::adapter;
use crate::packages;
use crate::steps::{self, Step, Steps, output};
use crate::test_program;
use crate::validation::Layer;

/// The test targets that need a GPU, but for `faults` and `sabotage`, which lose devices on purpose, and `cli`, which reads
/// all that stands on standard output: the layer writes there too.
const TARGETS: [&str; 8] =
    ["kernels", "executor", "host", "training", "examples", "whole", "random_programs", "oracle"];
const SWIFTSHADER: &str = "libvk_swiftshader.so";
const SWIFTSHADER_MANIFEST: &str = "vk_swiftshader_icd.json";
/// KiB of address space for a test program on SwiftShader, whose compiler takes time and memory without bound for some
/// texts (a loop with many branches): a failed test is better than a machine without memory.
const MEMORY: &str = "8388608";

/// The rule that the planted fault of `tests/executor` breaks.
const PLANTED: &str = "VUID-RuntimeSpirv-Workgroup-06530";

/// Builds the tests that need a GPU and runs those whose name contains the filter, all without one.
pub fn run(swiftshader: bool, validation: bool, filters: &[&OsString]) -> Result<ExitCode, String> {
    let driver = if swiftshader { Some(packages::chromium_libraries(SWIFTSHADER)?) } else { None };
    if driver.is_none() {
        adapter::ensure()?;
    }
    let layer = if validation { Some(Layer::ensure()?) } else { None };
    let programs = test_program::build(&TARGETS)?;
    let start = |program: &Path| command(program, driver.as_deref());
    if let Some(layer) = &layer {
        notices_a_planted_fault(layer, start(&programs[1]))?;
    }
    let mut steps = Steps::default();
    let mut ran = 0;
    for (target, program) in TARGETS.into_iter().zip(&programs) {
        let listing = output(start(program).args(filters).arg("--list").stderr(Stdio::null()));
        let listing = listing.ok_or_else(|| format!("`{target}` does not start"))?;
        let count = steps::count_tests(&listing);
        if count == 0 {
            continue;
        }
        ran += count;
        let mut command = start(program);
        command.args(filters);
        match &layer {
            None => steps.run(Step { name: target, command }),
            Some(layer) => watched(&mut steps, target, layer, command)?,
        }
    }
    if ran == 0 {
        return Err("no test has a name that contains a filter".to_owned());
    }
    steps.note(&format!(
        "{ran} tests{}",
        if swiftshader { " on SwiftShader; those of f16 are ignored, it has none" } else { "" }
    ));
    Ok(steps.finish())
}

/// One program under the layer, as a step that fails when its tests do, or the layer reports anything.
pub fn watched(steps: &mut Steps, name: &str, layer: &Layer, mut command: Command) -> Result<(), String> {
    let started = std::time::Instant::now();
    let watched = layer.watch(&mut command)?;
    for complaint in &watched.complaints {
        println!("{complaint}\n");
    }
    let passed = watched.succeeded && watched.complaints.is_empty();
    let reports = watched.complaints.len();
    steps.ran(
        name,
        started.elapsed(),
        passed,
        &format!("{reports} reports; {} of a known fault of naga", watched.known),
    );
    Ok(())
}

/// The check itself is checked: a wrong call, planted by the executor's tests, must be reported.
pub fn notices_a_planted_fault(layer: &Layer, mut executor: Command) -> Result<(), String> {
    let watched = layer.watch(executor.arg("planted").env("VISTOK_PLANT", "1"))?;
    match watched.complaints.iter().any(|complaint| complaint.contains(PLANTED)) {
        true => Ok(()),
        false => Err(format!("the layer did not report {PLANTED}, which was planted: {:?}", watched.complaints)),
    }
}

/// `program` on this machine's driver, or on the one in a folder.
fn command(program: &Path, driver: Option<&Path>) -> Command {
    let mut command = match driver {
        None => Command::new(program),
        Some(folder) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")]).arg(program);
            let manifest: PathBuf = folder.join(SWIFTSHADER_MANIFEST);
            // The second is what loaders before 1.3.207 read. No name but its own is taken for it.
            shell
                .env("VK_DRIVER_FILES", &manifest)
                .env("VK_ICD_FILENAMES", &manifest)
                .env("VISTOK_ADAPTER", "SwiftShader");
            shell
        }
    };
    command.env("REQUIRE_GPU", "1").env("RUST_BACKTRACE", "1").current_dir(crate::repository());
    command
}
