//! Commands run one after the other, each timed, all told at the end.

use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// One command and what to call it.
pub struct Step {
    /// What the summary calls it.
    pub name: &'static str,
    /// What is run.
    pub command: Command,
}

/// What has run so far.
#[derive(Default)]
pub struct Steps {
    lines: Vec<String>,
    first_failure: Option<u8>,
}

impl Steps {
    /// Runs `step` to its end, whatever came before: a later failure is worth knowing too.
    pub fn run(&mut self, mut step: Step) {
        println!("\n== {}: {}", step.name, shown(&step.command));
        let started = Instant::now();
        let (result, code) = match step.command.status() {
            Ok(status) if status.success() => ("passed".to_owned(), 0),
            Ok(status) => (format!("FAILED ({status})"), exit_code(status)),
            Err(error) => (format!("FAILED (cannot start: {error})"), 1),
        };
        self.lines.push(format!("{:>7.1} s  {}: {result}", started.elapsed().as_secs_f64(), step.name));
        if code != 0 {
            self.first_failure.get_or_insert(code);
        }
    }

    /// A line for the summary about what was run by other means, and its result.
    pub fn ran(&mut self, name: &str, took: Duration, passed: bool, what: &str) {
        let result = if passed { "passed" } else { "FAILED" };
        self.lines.push(format!("{:>7.1} s  {name}: {result} ({what})", took.as_secs_f64()));
        if !passed {
            self.first_failure.get_or_insert(1);
        }
    }

    /// A line for the summary about something that no command did.
    pub fn note(&mut self, line: &str) {
        self.lines.push(format!("{:>7}    {line}", "-"));
    }

    /// Prints the summary; the status is that of the first failure.
    pub fn finish(self) -> ExitCode {
        println!("\n== summary");
        for line in &self.lines {
            println!("{line}");
        }
        ExitCode::from(self.first_failure.unwrap_or(0))
    }
}

/// The cargo that runs us, in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::repository());
    command
}

/// Runs `command` and fails, saying what it was, unless it succeeds.
pub fn must(command: &mut Command) -> Result<(), String> {
    println!("   {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status}); its messages stand above", shown(command))),
        Err(error) => Err(format!("cannot start `{}`: {error}", shown(command))),
    }
}

/// What `command` prints, where it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many tests `listing`, a test program asked for `--list`, has.
pub fn count_tests(listing: &str) -> usize {
    listing.lines().filter(|line| line.ends_with(": test")).count()
}

/// The status to end with after a command ended with `status`: a signal counts as 1.
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_gives_the_status() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Step { name: "shell", command }
        };
        let mut steps = Steps::default();
        for script in ["exit 0", "exit 3", "exit 4"] {
            steps.run(shell(script));
        }
        assert_eq!(steps.first_failure, Some(3));
        assert_eq!(steps.lines.len(), 3);
        steps.run(Step { name: "nothing", command: Command::new("no-such-program-here") });
        assert!(steps.lines[3].contains("cannot start"));
    }

    #[test]
    fn listed_tests_are_counted() {
        assert_eq!(count_tests("a::b: test\nc: benchmark\nd: test\n\n2 tests, 1 benchmarks\n"), 2);
    }
}
