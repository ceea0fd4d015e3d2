//! The examples run to their end, where each checks its own result.
//!
//! Without an adapter those that need one are listed as ignored; with `REQUIRE_GPU=1` they fail.

#[cfg(feature = "images")]
#[allow(dead_code, reason = "its `main` only calls `run`")]
#[path = "../examples/classify.rs"]
mod classify;
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
#[cfg(feature = "images")]
use vistok::models::Network;
#[cfg(feature = "images")]
use vistok::train::weights::{declared, export};
use vistok::verify::compare;

type Outcome = Result<(), Failed>;
type Example = (&'static str, fn() -> Outcome);

const EXAMPLES: &[Example] = &[
    #[cfg(feature = "images")]
    ("classify", classifies),
    ("host_device", || host_device::run().map_err(|error| error.to_string().into())),
    ("own_op", || own_op::run().map_err(|error| error.to_string().into())),
    ("own_op with wgpu's checks", own_op_checked),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let present = Device::open(&options()).map(|_| ()).map_err(|error| error.to_string());
    let trials = EXAMPLES.iter().map(|&(name, run)| match &present {
        Ok(()) => Trial::test(name, run),
        Err(reason) if required => {
            let reason = reason.clone();
            Trial::test(name, move || Err(Failed::from(reason)))
        }
        Err(_) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
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

/// The demo's network as it starts, and ResNet's small one, each looking at a picture in a file.
#[cfg(feature = "images")]
fn classifies() -> Outcome {
    let folder = tempfile::tempdir()?;
    let image = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torchvision/waves.png");
    for (name, blocks) in [("vt-resnet-demo", 2), ("resnet-small", 0)] {
        let parameters = declared(Network::named(name, 10)?.model(), [224, 224, 3])?;
        let weights = folder.path().join(name);
        export(&weights, &parameters, None, |parameter| Ok(parameter.initial(3)))?;
        let seen = classify::run(&weights, &image).map_err(|error| error.to_string())?;
        let sum: f64 = seen.best(10).iter().map(|ranked| ranked.probability).sum();
        let maps: Vec<&Vec<f32>> = seen.looks.iter().flat_map(|looks| looks.blocks.iter().flatten()).collect();
        let whole = |map: &&Vec<f32>| (map.iter().sum::<f32>() - 1.0).abs() < 1e-4;
        if (sum - 1.0).abs() > 1e-9 || maps.len() != 8 * blocks || !maps.iter().all(whole) {
            return Err(format!("{name}: probabilities sum to {sum}, {} maps", maps.len()).into());
        }
    }
    Ok(())
}
