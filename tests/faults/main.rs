//! What goes wrong outside of the program: a device is lost, memory or the disk is full, the process is killed. Each
//! time the run ends with an error that says what is kept, and continues from there in the same bits.
//!
//! Without an adapter the tests that need one are listed as ignored; with `REQUIRE_GPU=1` they fail.

mod disks;
mod kills;
mod losses;
mod memory;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use libtest_mimic::{Arguments, Failed, Trial};
use vistok::gpu::{Device, OpenOptions, Pipelines, Snapshot};
use vistok::kernel::Elem;
use vistok::models::resnet::{Block, Stage, Stem, Trunk};
use vistok::models::vt::Vt;
use vistok::models::{Regularization, VtResNet};
use vistok::ops::Sgd;
use vistok::reference::Random;
use vistok::train::batches::Augmentation;
use vistok::train::data::{Images, Target};
use vistok::train::{Ended, Recompute, Schedule, Settings, Trainer};

type Outcome = Result<(), Failed>;

/// A test's name and what it does.
type Named = (&'static str, fn() -> Outcome);

const ON_A_GPU: [Named; 8] = [
    ("a device lost between two steps", losses::between_steps),
    ("a device lost at random moments of a step", losses::at_random_moments),
    ("a device lost before a checkpoint", losses::before_a_checkpoint),
    ("a step whose end is unknown is no state to go on from", losses::torn),
    ("a folder that vanishes", disks::vanished),
    (kills::KILLED, kills::killed),
    ("ctrl-c, and the run goes on", kills::interrupted),
    ("a run continues only as what it was", kills::refused),
];

fn main() -> ExitCode {
    if let Some(ended) = memory::child() {
        return ended;
    }
    let mut arguments = Arguments::from_args();
    // Software adapters take every core, and two runs at once take four times as long as one after the other.
    arguments.test_threads.get_or_insert(1);
    let found = open().map_err(|error| error.to_string());
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|value| value == "1");
    let mut trials = vec![
        Trial::test("the batch that a refusal names fits, or is refused with a smaller one", memory::batches_that_fit),
        Trial::test("absurd sizes are refused", memory::absurd_sizes),
    ];
    let mut on_a_gpu = |name: &str, why_not: Option<&str>, test: fn() -> Outcome| {
        trials.push(match (&found, why_not) {
            (Ok(_), None) => Trial::test(name, test),
            (Err(reason), _) if required => {
                let reason = reason.clone();
                Trial::test(name, move || Err(Failed::from(reason)))
            }
            (Err(_), _) => Trial::test(format!("{name} (no adapter)"), || Ok(())).with_ignored_flag(true),
            (_, Some(reason)) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
        });
    };
    for (name, test) in ON_A_GPU {
        on_a_gpu(name, None, test);
    }
    let device = found.as_ref().ok();
    // Elsewhere it would be the machine's memory that is taken.
    let shared = device.is_some_and(|device| !memory::can_be_exhausted(device));
    let shared = shared.then_some("this adapter shares the machine's memory");
    on_a_gpu("memory that does not suffice, and a device that goes on", shared, memory::exhausted);
    let cannot_mount = (!disks::can_mount()).then_some("needs the right to mount a file system");
    on_a_gpu("a disk that is full", cannot_mount, disks::full);
    on_a_gpu("a disk that becomes read-only", cannot_mount, disks::read_only);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn open() -> Result<Device, vistok::gpu::Error> {
    Device::open(&OpenOptions { adapter: std::env::var("VISTOK_ADAPTER").ok(), ..OpenOptions::default() })
}

/// The least VT-ResNet, for images of 8x8.
fn tiny() -> VtResNet {
    let trunk = Trunk::new(
        Stem::Small { kernel: 3, channels: 8, stride: 1, pool: true },
        Block::Basic,
        vec![Stage { channels: 8, blocks: 1, stride: 1 }],
    );
    VtResNet::of("tiny", trunk, Vt::counted(4, 16, 16, 8).with_heads(2), 1, 4)
}

fn noise() -> Images {
    let mut random = Random::new(9);
    let pixels = (0..24 * 64).map(|_| random.below(256) as u8).collect();
    let labels = (0..24).map(|_| random.below(4) as u8).collect();
    Images { height: 8, width: 8, channels: 1, pixels, labels, target: Target::Images, classes: 4 }
}

/// Steps of a run here.
const STEPS: u64 = 10;

/// A run of ten steps over three passes that saves after every `every` steps, on a device of its own.
struct Run {
    device: Device,
    trainer: Trainer,
}

impl Run {
    fn new(checkpoint: Option<(&Path, u64)>) -> Result<Self, Failed> {
        let device = open()?;
        let settings = Settings {
            elem: Elem::F32,
            recompute: Recompute::Nothing,
            batch: 8,
            accumulate: 1,
            seed: 5,
            steps: STEPS,
            schedule: Schedule::Cosine { peak: 0.05, warm_up: 4, steps: STEPS },
            optimizer: Sgd { momentum: 0.9, weight_decay: 1e-3, nesterov: true }.into(),
            augmentation: Augmentation { flip: true, shift: 1, policy: None },
            smoothing: 0.0,
            ema: None,
            regularization: Regularization::default(),
            distillation: None,
            note: String::new(),
            checkpoint: checkpoint.map(|(path, every)| (path.to_owned(), every)),
        };
        let trainer = Trainer::new(&device, &Pipelines::new(&device, None), &tiny(), &noise(), settings)?;
        Ok(Self { device, trainer })
    }

    /// Trains to the end, with `meanwhile` after every step.
    fn train(&mut self, mut meanwhile: impl FnMut(u64)) -> Result<Ended, vistok::train::TrainError> {
        self.trainer.train(&noise(), &AtomicBool::new(false), |report| meanwhile(report.step))
    }

    /// What a run that nothing happens to ends with.
    fn undisturbed() -> Result<Snapshot, Failed> {
        let mut run = Self::new(None)?;
        run.train(|_| {})?;
        Ok(run.trainer.homes().snapshot()?)
    }

    /// Goes on to the end, and compares with a run that nothing happened to.
    fn ends_as(mut self, undisturbed: &Snapshot) -> Outcome {
        ensure(self.train(|_| {})? == Ended::Done, || "it did not run to its end".to_owned())?;
        ensure(self.trainer.about().step == STEPS, || "it is of another step".to_owned())?;
        let same = self.trainer.homes().snapshot()? == *undisturbed;
        ensure(same, || "weights, averages or velocities are not those of the run that nothing happened to".to_owned())
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failed::from(otherwise())) }
}

/// The words of an error, all of `words` among them.
fn told<T, E: std::fmt::Display>(result: Result<T, E>, words: &[&str]) -> Outcome {
    let said = result.err().map(|error| error.to_string()).ok_or("it went well")?;
    ensure(words.iter().all(|word| said.contains(word)), || format!("`{said}` does not say {words:?}"))
}

/// The names in a folder.
fn names(folder: &Path) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
