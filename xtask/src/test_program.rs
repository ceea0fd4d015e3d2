//! The executables of test targets: where cargo puts them, and what they print while they run.

use std::path::PathBuf;
use std::process::Stdio;

use crate::steps::{self, output};

/// Builds the test targets and finds their executables in what cargo reports, in the order asked for.
pub fn build(targets: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut cargo = steps::cargo();
    cargo.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    cargo.args(targets.iter().flat_map(|target| ["--test", target])).stderr(Stdio::inherit());
    println!("   {}", steps::shown(&cargo));
    let report = output(&mut cargo).ok_or("cargo cannot build the tests; its messages stand above")?;
    let found = |target: &&str| {
        let path = report.lines().find_map(|line| executable(line, target));
        path.map(PathBuf::from).ok_or_else(|| format!("cargo built no executable of the test target `{target}`"))
    };
    targets.iter().map(found).collect()
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
