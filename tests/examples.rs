//! The examples run to their end, where each checks its own result.
//!
//! Without an adapter those that need one are listed as ignored; with `REQUIRE_GPU=1` they fail.

#[allow(dead_code, reason = "its `main` only calls `run`")]
#[path = "../examples/host_device.rs"]
mod host_device;
#[allow(dead_code, reason = "its `main` only calls `run`")]
#[path = "../examples/own_op.rs"]
mod own_op;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Checks, Device, OpenOptions, Pipelines};
use vistok::kernel::Elem;
use vistok::verify::compare;

type Outcome = Result<(), Failed>;
type Example = (&'static str, fn() -> Outcome);

const EXAMPLES: [Example; 3] = [
    ("host_device", || host_device::run().map_err(|error| error.to_string().into())),
    ("own_op", || own_op::run().map_err(|error| error.to_string().into())),
    ("own_op with wgpu's checks", own_op_checked),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let present = Device::open(&options()).map(|_| ()).map_err(|error| error.to_string());
    let trials = EXAMPLES.map(|(name, run)| match &present {
        Ok(()) => Trial::test(name, run),
        Err(reason) if required => {
            let reason = reason.clone();
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        Err(_) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// The adapter that the environment names, as in all tests. The examples open the first one, as their readers would.
fn options() -> OpenOptions {
    OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() }
}

/// A user's kernels obey the same two builds of modules as ours.
fn own_op_checked() -> Outcome {
    let device = Device::open(&OpenOptions { checks: Checks::On, ..options() })?;
    let pipelines = Pipelines::new(&device, None);
    for case in own_op::cases() {
        if let Some(fault) = compare(&device, &pipelines, &case, Elem::F32)?.into_iter().find_map(|row| row.fault) {
            return Err(fault.into());
        }
    }
    Ok(())
}
