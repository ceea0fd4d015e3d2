//! Runs the kernel tests inside the root whose software Vulkan has cooperative matrices.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use crate::coop_root::{self, inside};
use crate::steps::{self, Step, Steps, output};

/// The test target of the kernels: `tests/kernels.rs`.
const TARGET: &str = "kernels";
/// Where it stands inside the root.
const INSIDE: &str = "/root/kernels";

/// What the names of tests that multiply cooperative matrices contain.
const COOPERATIVE: &str = "::coop ";

/// Builds the kernel tests and runs those whose name contains a filter, in the root; without a filter those that
/// multiply cooperative matrices, since all others run outside as well. Where that is impossible it is an error,
/// because it was asked for.
pub fn run(filters: &[&OsString]) -> Result<ExitCode, String> {
    if let Some(why) = coop_root::obstacle() {
        return Err(format!("the kernel tests with cooperative matrices did not run: {why}"));
    }
    let executable = build()?;
    let root = coop_root::ensure()?;
    copy(&executable, &root)?;
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
    let command = tests();
    steps.run(Step { name: "kernel tests with cooperative matrices", command });
    steps.note(&format!("{count} kernel tests, inside {}", root.display()));
    Ok(steps.finish())
}

/// Builds the tests and finds their executable in what cargo reports.
fn build() -> Result<PathBuf, String> {
    let mut cargo = steps::cargo();
    cargo.args(["test", "--no-run", "--test", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.stderr(Stdio::inherit());
    println!("   {}", steps::shown(&cargo));
    let report = output(&mut cargo).ok_or("cargo cannot build the kernel tests; its messages stand above")?;
    let found = report.lines().find_map(|line| executable(line, TARGET));
    found.map(PathBuf::from).ok_or_else(|| format!("cargo built no executable of the test target `{TARGET}`"))
}

/// Copies the tests into the root and makes sure that every library they name is there.
fn copy(executable: &Path, root: &Path) -> Result<(), String> {
    let to = root.join(INSIDE.trim_start_matches('/'));
    fs::copy(executable, &to).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    // ldd reports a missing library, and a C library that is older than the one built against, on lines of their own.
    let report = inside(root, "ldd").arg(INSIDE).output().map_err(|error| format!("cannot start ldd: {error}"))?;
    let lines = [report.stdout, report.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    match lines.lines().find(|line| line.contains("not found")) {
        None => Ok(()),
        Some(line) => Err(format!("the root lacks what the tests need: {}", line.trim())),
    }
}

/// The executable in one line of cargo's JSON, where it is about the test target `target`.
fn executable(line: &str, target: &str) -> Option<String> {
    let about = line.contains(r#""reason":"compiler-artifact""#)
        && line.contains(r#""kind":["test"]"#)
        && line.contains(&format!(r#""name":"{target}""#));
    let (_, rest) = line.split_once(r#""executable":""#).filter(|_| about)?;
    let mut path = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(path),
            '\\' => path.push(letters.next()?),
            letter => path.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_in_cargos_report() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernels"},"executable":"/t/a \"b\"/kernels-1"}"#;
        assert_eq!(executable(line, "kernels").as_deref(), Some(r#"/t/a "b"/kernels-1"#));
        assert_eq!(executable(line, "tidy"), None);
        assert_eq!(executable(&line.replace("[\"test\"]", "[\"lib\"]"), "kernels"), None);
        assert_eq!(executable(&line.replace(r#""/t/a \"b\"/kernels-1""#, "null"), "kernels"), None);
    }
}
