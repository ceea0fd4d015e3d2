//! GPU time of every op, forward and backward, under criterion.
//!
//! On a GPU the shapes are those of real models; on a software adapter one small case an op, so that `cargo bench --
//! --test` runs each kernel once anywhere. Without an adapter it says that nothing was run.

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use vistok::bench::{Subject, subjects};
use vistok::gpu::{self, Device, OpenOptions, Pipelines};
use vistok::graph::Case;
use vistok::kernel::Elem;
use vistok::ops;
use vistok::verify::open_qualified;

/// Runs in one submission at most: a driver may take one that lasts seconds for a hang.
const RUNS: u64 = 100;
/// A small case has about this many numbers.
const SMALL: usize = 4_000;

fn main() -> Result<(), Box<dyn Error>> {
    let options = OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() };
    let device = match open_qualified(&options) {
        Ok(qualified) => qualified.device,
        Err(error @ gpu::Error::NoAdapter { .. }) => {
            println!("skipped: {error}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let pipelines = Pipelines::new(&device, None);
    let mut criterion = Criterion::default().configure_from_args();
    let mut names = HashSet::new();
    for case in cases(&device) {
        for elem in [Elem::F32, Elem::F16] {
            if elem == Elem::F16 && !device.capabilities().f16 {
                continue;
            }
            for subject in subjects(&case, elem, &device)? {
                let name = format!("{} {} {} {}", subject.name, subject.pass, subject.shape, subject.elem);
                if names.insert(name.clone()) {
                    bench(&mut criterion, &device, &pipelines, (&name, &subject));
                }
            }
        }
    }
    criterion.final_summary();
    Ok(())
}

/// The real shapes, or on a software adapter the case of each op that is nearest to a small size.
fn cases(device: &Device) -> Vec<Case> {
    let software = device.capabilities().software;
    let mut cases: Vec<Case> = ops::cases().into_iter().filter(|case| case.real.is_some() != software).collect();
    if software {
        let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
        cases.sort_by_key(|case| (case.op.name(), size(case).abs_diff(SMALL)));
        cases.dedup_by_key(|case| case.op.name());
    }
    cases
}

fn bench(criterion: &mut Criterion, device: &Device, pipelines: &Pipelines, (name, subject): (&str, &Subject)) {
    let mut group = criterion.benchmark_group("kernels");
    group.throughput(match subject.cost.multiply_adds {
        0 => Throughput::Bytes(subject.cost.bytes),
        multiply_adds => Throughput::Elements(2 * multiply_adds),
    });
    group.bench_function(name, |bencher| {
        // A bench that cannot run must not look like a fast one.
        let bare = subject.prepare(device, pipelines).unwrap_or_else(|error| panic!("{name}: {error}"));
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let runs = left.min(RUNS);
                let time = bare.time(runs as usize).unwrap_or_else(|error| panic!("{name}: {error}"));
                total += time.unwrap_or_else(|| panic!("{name}: the device has no timestamps"));
                left -= runs;
            }
            // Criterion divides by it; a software adapter's clock may not have moved.
            total.max(Duration::from_nanos(1))
        });
    });
    group.finish();
}
