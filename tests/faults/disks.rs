//! A disk that is full, becomes read-only, or loses the folder in the middle of a run.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use vistok::train::checkpoint::Checkpoint;

use super::{Outcome, Run, ensure, names, told};

/// A file system in memory, of a size of our own, for as long as this lives.
struct Disk(tempfile::TempDir);

fn mount(arguments: &[&str], at: &Path) -> bool {
    let ended = Command::new("mount").args(arguments).arg(at).output();
    ended.is_ok_and(|output| output.status.success())
}

impl Disk {
    fn new(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], folder.path()).then_some(Self(folder))
    }

    fn remount(&self, options: &str) -> Outcome {
        let done = mount(&["-o", &format!("remount,{options}")], self.0.path());
        ensure(done, || format!("mount refuses {options}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

pub(crate) fn can_mount() -> bool {
    Disk::new(1 << 16).is_some()
}

/// Bytes of a checkpoint of the run here.
fn size() -> Result<usize, Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.safetensors");
    Run::new(None)?.trainer.save(&file)?;
    Ok(usize::try_from(fs::metadata(&file)?.len())?)
}

/// Runs on a disk; `breaks` is called after a step, with the step. The run must end in step `at` for `reason` with the
/// file of the step before, and go on to the same bits when `mends` was called.
fn survives(
    folder: &Path,
    (at, reason): (u64, &str),
    mut breaks: impl FnMut(u64),
    mends: impl FnOnce() -> Outcome,
) -> Outcome {
    let undisturbed = Run::undisturbed()?;
    let file = folder.join("model.safetensors");
    let mut run = Run::new(Some((&file, 1)))?;
    let words = [&format!("in step {at}: "), reason, &format!("holds the run after {} steps", at - 1)];
    told(run.train(&mut breaks), &words)?;
    // A folder that is gone holds nothing; else it holds the file of the step before, whole, and no part of another.
    if folder.exists() {
        ensure(names(folder)? == ["model.safetensors"], || format!("{:?}", names(folder)))?;
        ensure(Checkpoint::open(&file)?.about().step == at - 1, || "the file is of another step".to_owned())?;
    }
    mends()?;
    run.ends_as(&undisturbed)?;
    ensure(names(folder)? == ["model.safetensors"], || format!("{:?}", names(folder)))?;
    ensure(Checkpoint::open(&file)?.about().step == super::STEPS, || "the last step was not saved".to_owned())
}

pub(crate) fn full() -> Outcome {
    // Room for one file and half of another: the first goes, the second is cut off in the middle of its writing.
    let size = size()?;
    let disk = Disk::new(size + size / 2).ok_or("mount refuses")?;
    let mend = || disk.remount(&format!("size={}", 3 * size));
    survives(disk.0.path(), (2, "No space left"), |_| {}, mend)
}

pub(crate) fn read_only() -> Outcome {
    let disk = Disk::new(1 << 24).ok_or("mount refuses")?;
    let breaks = |step| {
        if step == 4 {
            let _ = disk.remount("ro");
        }
    };
    survives(disk.0.path(), (4, "Read-only file system"), breaks, || disk.remount("rw"))
}

pub(crate) fn vanished() -> Outcome {
    let outer = tempfile::tempdir()?;
    let folder = outer.path().join("run");
    fs::create_dir(&folder)?;
    let breaks = |step| {
        if step == 4 {
            let _ = fs::remove_dir_all(&folder);
        }
    };
    survives(&folder, (4, "is the folder there"), breaks, || Ok(fs::create_dir(&folder)?))
}
