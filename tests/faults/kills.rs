//! `vistok train`, killed at random moments and started again until it is done: every file that it leaves is whole, and
//! the last one has the bytes of a run that was never killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use vistok::reference::Random;
use vistok::train::checkpoint::Checkpoint;
use vistok::train::files::is_leftover;

use super::{Outcome, ensure, names};

/// How often the run is killed: `VISTOK_KILLS`, or as often as a machine for everyday tests has time for.
pub(crate) const KILLED: &str = "kill -9 at random moments (VISTOK_KILLS=200 for the long run)";
const KILLS: usize = 8;

const WEIGHTS: &str = "model.safetensors";
/// What a run leaves.
const FILES: [&str; 3] = ["epochs.csv", WEIGHTS, "steps.csv"];

/// A tiny data set, a cache of pipelines, and folders for results.
struct Site {
    folder: tempfile::TempDir,
    /// Passes over the images, of one step each.
    passes: usize,
}

impl Site {
    fn new(passes: usize) -> Result<Self, Failed> {
        let site = Self { folder: tempfile::tempdir()?, passes };
        let data = site.at("data");
        fs::create_dir(&data)?;
        let mut random = Random::new(3);
        for (part, count) in [("train", 24u32), ("t10k", 10)] {
            let sizes = [count, 12, 12];
            let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
                std::iter::once(&magic).chain(sizes).flat_map(|word| word.to_be_bytes()).collect()
            };
            let mut bytes =
                |count: u32, most: usize| -> Vec<u8> { (0..count).map(|_| random.below(most) as u8).collect() };
            let images = [header(0x803, &sizes), bytes(count * 144, 256)].concat();
            let labels = [header(0x801, &sizes[..1]), bytes(count, 10)].concat();
            fs::write(data.join(format!("{part}-images-idx3-ubyte")), images)?;
            fs::write(data.join(format!("{part}-labels-idx1-ubyte")), labels)?;
        }
        Ok(site)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, out: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vistok"));
        command.args(["train", "--epochs", &self.passes.to_string(), "--checkpoint-every", "1", "--data"]);
        command.arg(format!("fashion-mnist:{}", self.at("data").display())).arg("--out").arg(out).args(more);
        if let Ok(adapter) = std::env::var("VISTOK_ADAPTER") {
            command.args(["--adapter", &adapter]);
        }
        command.env("XDG_CACHE_HOME", self.at("cache")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a run leaves that nothing happens to.
    fn undisturbed(&self) -> Result<Left, Failed> {
        let out = self.at("undisturbed");
        succeeded(&self.train(&out, &[]).output()?)?;
        left(&out)
    }
}

/// Weights, and the log without its times.
type Left = (Vec<u8>, String);

/// What a run has left, and nothing else beside it.
fn left(out: &Path) -> Result<Left, Failed> {
    ensure(names(out)? == FILES, || format!("{:?}", names(out)))?;
    let mut log = String::new();
    for line in (fs::read_to_string(out.join("steps.csv"))? + &fs::read_to_string(out.join("epochs.csv"))?).lines() {
        log += line.rsplit_once(',').map_or(line, |(row, _)| row);
        log += "\n";
    }
    Ok((fs::read(out.join(WEIGHTS))?, log))
}

fn succeeded(output: &Output) -> Outcome {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.success() && !words.contains("panicked"), || format!("{}: {words}", output.status))
}

/// The step of the file; 0 where there is none.
fn step(out: &Path) -> Result<u64, Failed> {
    let file = out.join(WEIGHTS);
    Ok(if file.exists() { Checkpoint::open(&file)?.about().step } else { 0 })
}

/// What a killed process left: the weights, whole and not older than before, and at most the file that it was writing.
/// Whether there is such a file.
fn whole(out: &Path, before: u64) -> Result<bool, Failed> {
    if !out.exists() {
        return Ok(false);
    }
    let after = step(out)?;
    ensure(after >= before, || format!("step {before} was saved already, and the file is of step {after}"))?;
    let others: Vec<String> = names(out)?.into_iter().filter(|name| !FILES.contains(&name.as_str())).collect();
    ensure(others.iter().all(|name| is_leftover(name)), || format!("half-written under its own name: {others:?}"))?;
    for table in ["steps.csv", "epochs.csv"] {
        let rows = fs::read_to_string(out.join(table)).unwrap_or_default();
        ensure(rows.is_empty() || rows.ends_with('\n'), || format!("half a row in {table}: {rows}"))?;
    }
    // Each start takes away what the last one left.
    ensure(others.len() <= 1, || format!("leftovers of dead processes: {others:?}"))?;
    Ok(!others.is_empty())
}

/// Waits until `seen`, the process ends, or two minutes are over; whether the process still lives.
fn until(child: &mut Child, mut seen: impl FnMut() -> bool) -> Result<bool, Failed> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        if seen() {
            return Ok(true);
        }
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(true)
}

/// When the weights were written.
fn written(out: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(out.join(WEIGHTS)).and_then(|file| file.modified()).ok()
}

fn until_it_saves(child: &mut Child, out: &Path) -> Result<bool, Failed> {
    let before = written(out);
    until(child, || written(out) != before)
}

/// Lets the run live until a moment of its own: anywhere in its start, some steps after it has begun to train, or while
/// it writes.
fn let_live(child: &mut Child, out: &Path, random: &mut Random) -> Result<(), Failed> {
    let moment = match random.below(5) {
        0 => 1_500_000,
        1 | 2 => {
            until_it_saves(child, out)?;
            120_000
        }
        _ => {
            let writes = |name: &String| is_leftover(name) && name.contains(WEIGHTS);
            until_it_saves(child, out)?;
            // Or the file itself is touched: were it written in place, this is when it would be found half-written.
            let before = written(out);
            let begins = || written(out) != before || names(out).is_ok_and(|names| names.iter().any(writes));
            until(child, begins)?;
            300
        }
    };
    std::thread::sleep(Duration::from_micros(random.below(moment) as u64));
    Ok(())
}

/// A process that no failure of the test leaves behind.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn killed() -> Outcome {
    let wanted = std::env::var("VISTOK_KILLS").map_or(Ok(KILLS), |kills| kills.parse())?;
    let site = Site::new(24)?;
    let began = Instant::now();
    let undisturbed = site.undisturbed()?;
    let once = began.elapsed();
    let out = site.at("killed");
    let mut random = Random::new(7);
    let (mut kills, mut writing, mut early, mut ended) = (0, 0, 0, 0);
    while kills < wanted {
        let before = step(&out)?;
        let mut running = Running(Some(site.train(&out, &["--resume"]).spawn()?));
        let child = running.0.as_mut().ok_or("it was started")?;
        let_live(child, &out, &mut random)?;
        if child.try_wait()?.is_none() {
            child.kill()?;
            kills += 1;
            early += usize::from(step(&out)? == before);
        }
        let output = running.0.take().ok_or("it was started")?.wait_with_output()?;
        writing += usize::from(whole(&out, before)?);
        if output.status.success() {
            ended += 1;
            ensure(left(&out)? == undisturbed, || "other weights or another log than undisturbed".to_owned())?;
            fs::remove_dir_all(&out)?;
        } else if output.status.code().is_some() {
            // Not killed, and no success: the run itself gave up.
            succeeded(&output)?;
        }
    }
    succeeded(&site.train(&out, &["--resume"]).output()?)?;
    ensure(left(&out)? == undisturbed, || "other weights or another log than undisturbed".to_owned())?;
    println!(
        "killed {kills} times in {:.0} s ({:.1} s undisturbed), {early} before it trained, {writing} while it wrote; {} runs ended",
        began.elapsed().as_secs_f64(),
        once.as_secs_f64(),
        ended + 1
    );
    ensure(wanted < 100 || writing > 0, || "no kill met a write: the test does not test".to_owned())
}

#[cfg(unix)]
pub(crate) fn interrupted() -> Outcome {
    let site = Site::new(12)?;
    let undisturbed = site.undisturbed()?;
    let out = site.at("interrupted");
    let mut child = site.train(&out, &[]).spawn()?;
    ensure(until_it_saves(&mut child, &out)?, || "it ended by itself".to_owned())?;
    // A second run must not write there meanwhile.
    let second = site.train(&out, &["--resume"]).output()?;
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure(second.status.code() == Some(1) && words.contains("another vistok"), || words.clone())?;
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    ensure(sent.success(), || "no signal could be sent".to_owned())?;
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(1) && words.contains("--resume continues it"), || words.clone())?;
    ensure(words.contains(&format!("interrupted after {} of 12 steps", step(&out)?)), || words.clone())?;
    ensure(names(&out)? == FILES, || format!("{:?}", names(&out)))?;
    succeeded(&site.train(&out, &["--resume"]).output()?)?;
    ensure(left(&out)? == undisturbed, || "other weights or another log than undisturbed".to_owned())
}

#[cfg(not(unix))]
pub(crate) fn interrupted() -> Outcome {
    Err(Failed::from("ctrl-c is sent by `kill`, which this system lacks"))
}

/// Another seed, other passes or other images are another run: the start says which, and writes nothing.
pub(crate) fn refused() -> Outcome {
    let mut site = Site::new(2)?;
    let undisturbed = site.undisturbed()?;
    let out = site.at("undisturbed");
    let refuses = |mut command: Command, words: &[&str]| -> Outcome {
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(output.status.code() == Some(1), || format!("{words:?}: {}: {said}", output.status))?;
        ensure(words.iter().all(|word| said.contains(word)), || format!("{words:?}: {said}"))?;
        ensure(left(&out)? == undisturbed, || format!("{words:?}: the file has changed"))
    };
    refuses(site.train(&out, &[]), &["--resume continues it"])?;
    refuses(site.train(&out, &["--resume", "--seed", "2"]), &["seed is 1 there and 2 here"])?;
    site.passes = 3;
    refuses(site.train(&out, &["--resume"]), &["recipe is ", "steps: 2", "steps: 3"])?;
    site.passes = 2;
    let images = site.at("data").join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&images)?;
    // Two pixels change places: the same mean, the same size, other images.
    let last = bytes.len() - 1;
    let other = (16..last).find(|&at| bytes[at] != bytes[last]).ok_or("all pixels are equal")?;
    bytes.swap(other, last);
    fs::write(&images, bytes)?;
    refuses(site.train(&out, &["--resume"]), &["images is "])
}
