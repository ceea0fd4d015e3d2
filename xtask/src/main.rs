//! `cargo xtask`: run the demo or the tests with nothing prepared; it makes sure that there is something to run on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

mod adapter;
mod coop_root;
mod coop_tests;
mod driver_tests;
mod mirror;
mod packages;
mod page_server;
mod sabotage;
mod spirv;
mod steps;
mod test_program;
mod tint;
mod translations;
mod validation;

use steps::{Step, Steps};

const HELP: &str = "\
Runs vistok's demo and tests; makes sure that a Vulkan adapter exists first.

    cargo xtask demo [--] [ARGUMENTS OF `vistok demo`]
    cargo xtask test [FILTER]
    cargo xtask test [--coop | --swiftshader] [--validation] [FILTER]
    cargo xtask check [spirv | tint]
    cargo xtask sabotage [OPTIONS]
    cargo xtask --help

`cargo xtask <command> --help` says more.";

const DEMO_HELP: &str = "\
Builds vistok and trains the demo's model on the images in the repository.

    cargo xtask demo [--] [ARGUMENTS OF `vistok demo`]

Where there is no Vulkan adapter it installs Mesa's software one (apt-get, as root or through sudo without a
password), or says the command. Arguments go to `vistok demo`; `cargo xtask demo -- --help` lists them.";

const TEST_HELP: &str = "\
Runs all tests, then every bench once. A test that needs a GPU fails without one: it is never skipped.

    cargo xtask test [FILTER]             all tests, or those whose name contains FILTER (then without benches)
    cargo xtask test --coop [FILTER]      the kernel tests, with cooperative matrices, on the CPU
    cargo xtask test --swiftshader [FILTER]   the tests that need a GPU, on another driver: Chromium's SwiftShader
    cargo xtask test --validation [FILTER]    the tests that need a GPU, under Vulkan's validation layer

--coop runs in a root of its own, whose software Vulkan has cooperative matrices. It is built once, in .coop-root/
(a minute, 750 MB), and needs root on Debian or Ubuntu. VISTOK_DEBIAN_MIRROR names the Debian mirror to build it
from; otherwise it is the one that apt uses on this machine.

--swiftshader and --validation take what they need from Debian's package chromium-common, unpacked under target/ where
it is not installed. SwiftShader has no f16. The layer's reports are faults, but for one of naga's that wgpu knows; before
all else a wrong call is made on purpose, which the layer must report. --validation goes with either of the others.";

const CHECK_HELP: &str = "\
Puts every build of every kernel before validators that are not naga. Each must refuse a text made wrong on purpose.

    cargo xtask check spirv     SPIR-V, as wgpu would hand it to a driver, before spirv-val (Debian: spirv-tools)
    cargo xtask check tint      WGSL without cooperative matrices before Tint, in headless Chromium
    cargo xtask check           both

Programs that are missing are installed (apt-get, as root or through sudo without a password), or the command is said.
Where spirv-val is too old for cooperative matrices, those modules are checked in the root that `cargo xtask test --coop`
builds. The files lie in target/translations afterwards.";

/// The exit status of a command line that makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match words.first().and_then(|word| word.to_str()) {
        Some("demo") => demo(&words[1..]),
        Some("test") => test(&words[1..]),
        Some("check") => check(&words[1..]),
        Some("sabotage") => sabotage::run(&words[1..]),
        Some("--help" | "-h" | "help") if words.len() == 1 => say(HELP),
        None if words.is_empty() => usage("say what to run", HELP),
        _ => usage(&format!("`{}` is not a command", words[0].to_string_lossy()), HELP),
    };
    done.unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::FAILURE
    })
}

fn demo(words: &[OsString]) -> Result<ExitCode, String> {
    if wants_help(words) {
        return say(DEMO_HELP);
    }
    let arguments = if words.first().is_some_and(|word| word == "--") { &words[1..] } else { words };
    adapter::ensure()?;
    steps::cargo().args(["run", "--release", "--bin", "vistok", "--", "demo"]).args(arguments).status().map_or_else(
        |error| Err(format!("cannot start cargo: {error}")),
        |status| Ok(ExitCode::from(steps::exit_code(status))),
    )
}

fn test(words: &[OsString]) -> Result<ExitCode, String> {
    if wants_help(words) {
        return say(TEST_HELP);
    }
    let (flags, filters): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.to_string_lossy().starts_with('-'));
    if filters.len() > 1 {
        return usage("a test run takes one FILTER at most", TEST_HELP);
    }
    let mut asked = [("--coop", false), ("--swiftshader", false), ("--validation", false)];
    for flag in flags {
        match asked.iter_mut().find(|(name, _)| flag == name) {
            Some((_, asked)) => *asked = true,
            None => return usage(&format!("`{}` is not an option of test", flag.to_string_lossy()), TEST_HELP),
        }
    }
    match asked.map(|(_, asked)| asked) {
        [false, false, false] => all_tests(&filters),
        [true, false, validation] => coop_tests::run(validation, &filters),
        [false, swiftshader, validation] => driver_tests::run(swiftshader, validation, &filters),
        [true, true, _] => usage("--coop and --swiftshader are two drivers; choose one", TEST_HELP),
    }
}

fn check(words: &[OsString]) -> Result<ExitCode, String> {
    let [spirv, tint] = match words {
        [] => [true, true],
        [word] if word == "spirv" => [true, false],
        [word] if word == "tint" => [false, true],
        _ if wants_help(words) => return say(CHECK_HELP),
        _ => return usage("check takes `spirv`, `tint` or nothing", CHECK_HELP),
    };
    let translations = translations::write()?;
    let mut result = ExitCode::SUCCESS;
    for (wanted, check) in [(spirv, spirv::check as fn(&_) -> _), (tint, tint::check)] {
        let found = if wanted { check(&translations)? } else { ExitCode::SUCCESS };
        if result == ExitCode::SUCCESS {
            result = found;
        }
    }
    Ok(result)
}

fn all_tests(filters: &[&OsString]) -> Result<ExitCode, String> {
    adapter::ensure()?;
    let mut steps = Steps::default();
    let tests = || {
        let mut command = steps::cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters).env("REQUIRE_GPU", "1");
        command
    };
    if !filters.is_empty() {
        // A misspelled filter would otherwise pass by running nothing. Where the listing fails, the run below says why.
        let listing = steps::output(tests().arg("--list").stderr(Stdio::inherit()));
        if listing.is_some_and(|listing| steps::count_tests(&listing) == 0) {
            return Err("no test has a name that contains a filter".to_owned());
        }
    }
    steps.run(Step { name: "tests", command: tests() });
    if filters.is_empty() {
        let mut benches = steps::cargo();
        benches.args(["bench", "--", "--test"]).env("REQUIRE_GPU", "1");
        steps.run(Step { name: "benches, once each", command: benches });
    } else {
        steps.note("benches: not run (a filter was given)");
    }
    steps.note(&match coop_root::obstacle() {
        None => "cooperative-matrix kernels: run above only if this machine's adapter has them; \
                 `cargo xtask test --coop` runs them on the CPU"
            .to_owned(),
        Some(why) => format!(
            "cooperative-matrix kernels: run above only if this machine's adapter has them; \
             `cargo xtask test --coop` cannot run them here ({why})"
        ),
    });
    Ok(steps.finish())
}

fn wants_help(words: &[OsString]) -> bool {
    matches!(words.first().and_then(|word| word.to_str()), Some("--help" | "-h"))
}

fn say(text: &str) -> Result<ExitCode, String> {
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn usage(what: &str, help: &str) -> Result<ExitCode, String> {
    eprintln!("xtask: {what}\n\n{help}");
    Ok(ExitCode::from(USAGE))
}

/// The repository. Cargo says where it is at the moment; the place of the build is for a program started by hand.
fn repository() -> PathBuf {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(crate_dir).parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}
