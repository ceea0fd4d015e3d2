//! Runs the kernel tests inside the root whose software Vulkan has cooperative matrices.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use crate::coop_root::{self, inside};
use crate::driver_tests;
use crate::steps::{self, Step, Steps, output};
use crate::test_program;
use crate::validation::Layer;

/// The test target of the kernels: `tests/kernels.rs`.
const TARGET: &str = "kernels";
/// Where it stands inside the root.
const INSIDE: &str = "/root/kernels";
const EXECUTOR_INSIDE: &str = "/root/executor";

/// What the names of tests that multiply cooperative matrices contain.
const COOPERATIVE: &str = "::coop ";

/// Builds the kernel tests and runs those whose name contains a filter, in the root; without a filter those that
/// multiply cooperative matrices, since all others run outside as well. Where that is impossible it is an error,
/// because it was asked for.
pub fn run(validation: bool, filters: &[&OsString]) -> Result<ExitCode, String> {
    if let Some(why) = coop_root::obstacle() {
        return Err(format!("the kernel tests with cooperative matrices did not run: {why}"));
    }
    let programs = test_program::build(&[TARGET, "executor"])?;
    let root = coop_root::ensure()?;
    copy(&programs[0], &root, INSIDE)?;
    let tests = || {
        let mut command = inside(&root, INSIDE);
        if filters.is_empty() {
            command.arg(COOPERATIVE);
        }
        command.args(filters).envs([("REQUIRE_GPU", "1"), ("REQUIRE_COOP", "1"), ("RUST_BACKTRACE", "1")]);
        command
    };
    let listing = output(tests().arg("--list").stderr(Stdio::inherit()))
        .ok_or("the kernel tests do not start inside the root")?;
    let count = steps::count_tests(&listing);
    if count == 0 {
        return Err("no kernel test has a name that contains a filter".to_owned());
    }
    let mut steps = Steps::default();
    let name = "kernel tests with cooperative matrices";
    if validation {
        let layer = Layer::inside(&root)?;
        copy(&programs[1], &root, EXECUTOR_INSIDE)?;
        driver_tests::notices_a_planted_fault(&layer, inside(&root, EXECUTOR_INSIDE))?;
        driver_tests::watched(&mut steps, name, &layer, tests())?;
    } else {
        steps.run(Step { name, command: tests() });
    }
    steps.note(&format!("{count} kernel tests, inside {}", root.display()));
    Ok(steps.finish())
}

/// Copies the tests into the root and makes sure that every library they name is there.
fn copy(executable: &Path, root: &Path, place: &str) -> Result<(), String> {
    let to = root.join(place.trim_start_matches('/'));
    fs::copy(executable, &to).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    // ldd reports a missing library, and a C library that is older than the one built against, on lines of their own.
    let report = inside(root, "ldd").arg(place).output().map_err(|error| format!("cannot start ldd: {error}"))?;
    let lines = [report.stdout, report.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    match lines.lines().find(|line| line.contains("not found")) {
        None => Ok(()),
        Some(line) => Err(format!("the root lacks what the tests need: {}", line.trim())),
    }
}
