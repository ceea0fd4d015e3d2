//! Every kernel against its maths: each node of each case's graph, forward and backward, in f32 and f16, with runtime
//! checks on and off, by each engine that the adapter has.
//!
//! Without an adapter these tests are listed as ignored; with `REQUIRE_GPU=1` they fail. `REQUIRE_COOP=1` demands
//! cooperative matrices as well.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Checks, Device, OpenOptions, Pipelines};
use vistok::graph::Case;
use vistok::kernel::Elem;
use vistok::kernel::tuning::gemm::Tiles;
use vistok::ops::{self, Conv2d, MatMul};
use vistok::verify::{compare, needs_f16, recordings, uses_fragments};

/// The label of what cooperative matrices multiply.
const COOP: &str = "coop";

struct Bench {
    device: Device,
    pipelines: Arc<Pipelines>,
    label: &'static str,
}

fn main() {
    let arguments = Arguments::from_args();
    let benches = open();
    let mut trials = Vec::new();
    for case in ops::cases().into_iter().filter(|case| case.real.is_none()) {
        for elem in [Elem::F32, Elem::F16] {
            let case = Arc::new(case.clone());
            match &benches {
                Err(reason) if required("REQUIRE_GPU") => {
                    let reason = reason.clone();
                    trials.push(Trial::test(name(&case, elem, "gpu"), move || Err(Failed::from(reason))));
                }
                Err(_) => trials.push(Trial::test(name(&case, elem, "no adapter"), || Ok(())).with_ignored_flag(true)),
                Ok(benches) => {
                    for bench in benches {
                        let halves = needs_f16(&case, elem).expect("a case's shapes fit");
                        if halves && !bench.device.capabilities().f16 {
                            let label = name(&case, elem, "no f16 on this adapter");
                            trials.push(Trial::test(label, || Ok(())).with_ignored_flag(true));
                            continue;
                        }
                        if bench.label == COOP && !multiplies_fragments(bench, &case, elem) {
                            continue; // the same kernels run as `scalar`
                        }
                        let (case, bench) = (case.clone(), bench.clone());
                        trials.push(Trial::test(name(&case, elem, bench.label), move || check(&bench, &case, elem)));
                    }
                }
            }
        }
    }
    for bench in benches.iter().flatten() {
        trials.extend(large_tiles(bench));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Each way of cutting a GEMM, also those that only large products get: on whole tiles, and on tiles that stick out.
fn large_tiles(bench: &Arc<Bench>) -> Vec<Trial> {
    let matmul = |m: usize, n: usize, k: usize| Case::new(MatMul::new(), &[&[m, k], &[k, n]]);
    let conv = |c: usize, o: usize| Case::new(Conv2d::new(1, 1), &[&[2, 8, 8, c], &[3, 3, c, o]]);
    let mut trials = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        let machine = bench.device.capabilities();
        let cooperative = elem == Elem::F16 && machine.fragment.is_some();
        if elem == Elem::F16 && !machine.f16 || (bench.label == COOP) != cooperative {
            continue;
        }
        for tiles in Tiles::all(machine, elem) {
            let mut device = bench.device.clone();
            device.force_tiles(tiles);
            let forced = Arc::new(Bench { device, pipelines: bench.pipelines.clone(), label: bench.label });
            for case in [matmul(128, 128, 64), matmul(132, 68, 36), conv(64, 128), conv(20, 36)] {
                let [m, n, k] = tiles.tile;
                let label = format!("{} in tiles of {m}x{n}x{k}", bench.label);
                let forced = forced.clone();
                trials.push(Trial::test(name(&case, elem, &label), move || check(&forced, &case, elem)));
            }
        }
    }
    trials
}

fn name(case: &Case, elem: Elem, label: &str) -> String {
    format!("{}::{elem}::{label} {}", case.op.name(), case.name())
}

fn multiplies_fragments(bench: &Bench, case: &Case, elem: Elem) -> bool {
    let recordings = recordings(case, elem, bench.device.capabilities()).expect("a case's shapes fit");
    recordings.iter().any(uses_fragments)
}

fn required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// A device for each way of running kernels: without checks, with checks, and, where there are cooperative matrices,
/// with and without those.
fn open() -> Result<Vec<Arc<Bench>>, String> {
    let open = |checks: Checks, scalar: bool, label: &'static str| {
        let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), checks, scalar };
        let device = Device::open(&options).map_err(|error| error.to_string())?;
        let pipelines = Arc::new(Pipelines::new(&device, None));
        Ok::<_, String>(Arc::new(Bench { device, pipelines, label }))
    };
    let mut benches = vec![open(Checks::Off, true, "scalar")?, open(Checks::On, true, "scalar checked")?];
    let coop = open(Checks::Off, false, COOP)?;
    if coop.device.capabilities().fragment.is_some() {
        benches.push(coop);
    } else if required("REQUIRE_COOP") {
        return Err(format!("adapter {} has no cooperative matrices", coop.device.info().name));
    }
    Ok(benches)
}

fn check(bench: &Bench, case: &Case, elem: Elem) -> Result<(), Failed> {
    let rows = compare(&bench.device, &bench.pipelines, case, elem)?;
    let faults: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let fault = row.fault.as_ref()?;
            Some(format!("{} {:?} {} output {}: {fault}", row.op, row.kernels, row.shapes, row.output))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Failed::from(faults.join("\n"))) }
}
