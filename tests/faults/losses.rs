//! A device that is lost: between steps, within one, before a checkpoint.

use std::fs;
use std::path::Path;
use std::time::Instant;

use vistok::reference::Random;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::{Resumed, TrainError};
use vistok::wgpu;

use super::{Outcome, Run, STEPS, ensure, names, told};

/// A new device goes on from the file, and ends as if nothing had happened.
fn goes_on(file: &Path, undisturbed: &vistok::gpu::Snapshot) -> Outcome {
    let mut run = Run::new(Some((file, 2)))?;
    let resumed = run.trainer.resume(file)?;
    ensure(resumed == Resumed::Exactly, || format!("{resumed:?}"))?;
    run.ends_as(undisturbed)
}

pub(crate) fn between_steps() -> Outcome {
    let undisturbed = Run::undisturbed()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let mut run = Run::new(Some((&file, 2)))?;
    let device = run.device.device.clone();
    let ended = run.train(|step| {
        if step == 5 {
            device.destroy();
        }
    });
    ensure(ended.as_ref().is_err_and(TrainError::is_lost_device), || format!("{ended:?}"))?;
    told(ended, &["in step 6: the GPU was lost", "model.safetensors holds the run after 4 steps"])?;
    ensure(names(folder.path())? == ["model.safetensors"], || "something else was left".to_owned())?;
    ensure(Checkpoint::open(&file)?.about().step == 4, || "the file is of another step".to_owned())?;
    // Whoever tries again with the lost device is told so, and nothing is written.
    let kept = fs::read(&file)?;
    told(run.train(|_| {}), &["step 6 was begun", "continue from a checkpoint"])?;
    told(run.trainer.save(&file), &["continue from a checkpoint"])?;
    told(run.trainer.accuracy(&super::noise()), &["lost"])?;
    ensure(fs::read(&file)? == kept, || "a lost device has written a checkpoint".to_owned())?;
    goes_on(&file, &undisturbed)
}

pub(crate) fn at_random_moments() -> Outcome {
    let undisturbed = Run::undisturbed()?;
    let began = Instant::now();
    Run::new(None)?.train(|_| {})?;
    let whole = began.elapsed();
    let (mut lost, mut steps) = (0, Vec::new());
    for seed in 0..6 {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("model.safetensors");
        let mut run = Run::new(Some((&file, 2)))?;
        let moment = whole.mul_f64(Random::new(seed).below(1000) as f64 / 1000.0);
        // The clock starts with the first step; until then pipelines are built.
        let (device, ready) = (run.device.device.clone(), std::sync::Arc::new(std::sync::Barrier::new(2)));
        let starts = ready.clone();
        let thread = std::thread::spawn(move || {
            starts.wait();
            std::thread::sleep(moment / 4);
            device.destroy();
        });
        ready.wait();
        let ended = run.train(|_| {});
        thread.join().map_err(|_| "destroying a device panicked")?;
        match ended {
            Ok(_) => {}
            Err(error) => {
                let words = error.to_string();
                ensure(error.is_lost_device(), || format!("seed {seed}: {words}"))?;
                ensure(words.contains("in step "), || format!("seed {seed}: {words}"))?;
                lost += 1;
            }
        }
        let saved = names(folder.path())?;
        ensure(saved.len() <= 1, || format!("seed {seed}: {saved:?}"))?;
        if saved.is_empty() {
            continue;
        }
        let step = Checkpoint::open(&file)?.about().step;
        ensure(step % 2 == 0 && (2..=STEPS).contains(&step), || format!("seed {seed}: a file of step {step}"))?;
        steps.push(step);
        goes_on(&file, &undisturbed)?;
    }
    println!("lost {lost} of 6 runs, which went on from steps {steps:?}");
    ensure(lost > 0, || "no run met the loss of its device".to_owned())
}

pub(crate) fn before_a_checkpoint() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let mut run = Run::new(Some((&file, 2)))?;
    let device = run.device.device.clone();
    // Step 4 is done and due to be saved when this is called.
    let ended = run.train(|step| {
        if step == 4 {
            device.destroy();
        }
    });
    told(ended, &["in step 4: the GPU was lost", "holds the run after 2 steps"])?;
    ensure(names(folder.path())? == ["model.safetensors"], || "something else was left".to_owned())?;
    ensure(Checkpoint::open(&file)?.about().step == 2, || "the file is of another step".to_owned())?;
    let mut first = Run::new(Some((&folder.path().join("none"), 1)))?;
    let device = first.device.device.clone();
    device.destroy();
    told(first.train(|_| {}), &["in step 1: ", "nothing of the run was saved yet"])
}

/// After a step that was begun and not seen to end, the weights are of before it or after: neither a second try nor a
/// file may start from them.
pub(crate) fn torn() -> Outcome {
    let undisturbed = Run::undisturbed()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    let mut run = Run::new(Some((&file, 3)))?;
    let device = run.device.device.clone();
    // Made before a step begins, it is told before: the run stands where it stood, and goes on. The fifth is under way
    // when the fourth is reported.
    let ended = run.train(|step| {
        if step == 4 {
            drop(mistake_on(&device));
        }
    });
    told(ended, &["in step 6: ", "the host's own mistake", "holds the run after 3 steps"])?;
    ensure(run.trainer.about().step == 5, || "it stands at another step".to_owned())?;
    run.ends_as(&undisturbed)?;

    // Made when the GPU has work of the step already, it is told after.
    fs::remove_file(&file)?;
    let mut run = Run::new(Some((&file, 4)))?;
    let (device, queue) = (run.device.device.clone(), run.device.queue.clone());
    let ended = run.train(|step| {
        let device = device.clone();
        if step == STEPS - 1 {
            queue.on_submitted_work_done(move || drop(mistake_on(&device)));
        }
    });
    told(ended, &["in step 10: ", "the host's own mistake", "holds the run after 8 steps"])?;
    for again in [run.train(|_| {}).map(|_| ()), run.trainer.save(&file)] {
        told(again, &["step 10 was begun and its end not seen", "continue from a checkpoint"])?;
    }
    run.trainer.resume(&file)?;
    ensure(run.trainer.about().step == 8, || "the file is of another step".to_owned())?;
    run.ends_as(&undisturbed)
}

/// A mistake of a host that no scope of it catches, told by whichever call of ours comes next.
fn mistake_on(device: &wgpu::Device) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let label = Some("the host's own mistake");
    device.create_buffer(&wgpu::BufferDescriptor { label, size: 4, usage, mapped_at_creation: false })
}
