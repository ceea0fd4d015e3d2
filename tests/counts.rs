//! What whole models cost without a clock: kernel calls, builds, barriers, memory and multiply-adds. No GPU.
//!
//! Time on a software adapter says little; these say what would have to be explained if it changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use vistok::bench::{ModelSubject, Task};
use vistok::gpu::Device;
use vistok::kernel::{Elem, compose};
use vistok::models::by_name;

#[test]
fn whole_models_cost_what_they_did() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::rehearsal()?;
    let mut text = String::new();
    for (name, classes, images) in [
        ("resnet18", 1000, [8, 224, 224, 3]),
        ("resnet50", 1000, [8, 224, 224, 3]),
        ("vt-resnet18", 1000, [8, 224, 224, 3]),
        ("fpn-resnet50", 54, [2, 400, 608, 3]),
        ("vt-fpn-resnet50", 54, [2, 400, 608, 3]),
    ] {
        let model = by_name(name, classes).ok_or("no such model")?;
        for task in [Task::Forward, Task::Training] {
            let subject = ModelSubject { model: &*model, images, elem: Elem::F32, task };
            let plan = subject.plan(&device)?;
            let mut builds = BTreeSet::new();
            let mut barriers = 0;
            for step in plan.steps() {
                let wgsl = compose(step.kernel, &step.variant)?.wgsl;
                barriers += wgsl.matches("workgroupBarrier()").count();
                builds.insert(wgsl);
            }
            let (dispatches, builds, mib) = (plan.steps().len(), builds.len(), plan.peak_bytes() >> 20);
            writeln!(
                text,
                "{name} {task}: {dispatches} dispatches of {builds} builds, {barriers} barriers in their texts, {mib} MiB"
            )?;
        }
    }
    insta::assert_snapshot!(text);
    Ok(())
}
