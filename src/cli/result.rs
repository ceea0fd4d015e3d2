//! What a run came to, as one line of JSON in a file of many: tables are made of it, in pieces and by several processes at once.
//!
//! | field | what it says |
//! |---|---|
//! | `label` | what `--label` calls the run; `null` where it says nothing |
//! | `version` | of vistok |
//! | `model`, `network` | its name, and all its options, as `vistok model NAME --json` has them |
//! | `image`, `classes` | height, width and channels that it sees; what it tells apart |
//! | `macs`, `parameters` | multiply-adds of one image; all that is learned |
//! | `data`, `train_images`, `test_images` | the images' name, and how many there are; with those in `skipped_images` |
//! | `skipped_images` | those of both that could not be read |
//! | `recipe` | every choice of the recipe: optimizer, schedule, augmentation and so on |
//! | `seed`, `steps`, `epochs`, `batch`, `precision` | `precision` is f32, or f16 for mixed precision |
//! | `skipped_steps` | those whose gradients overflowed f16; `null` in f32 |
//! | `final_loss` | the mean of the last pass |
//! | `test_accuracy` or `test_mean_iou` … | of the weights that the run ended with |
//! | `best_score`, `best_epoch` | the same of the best of all passes that were scored, and which that was |
//! | `train_seconds` | wall time of all steps of the run, in however many parts, with checkpoints and without scoring |
//! | `images_per_second` | trained on in those |
//! | `gpu_step_ms`, `gpu_busy` | GPU time of a step, measured at the end, and its share of the wall time of a step in the part of the run that ended it; `null` where the device has no timestamps |
//! | `adapter`, `driver`, `backend` | what computed |

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use vistok::bench::Count;
use vistok::kernel::Elem;
use vistok::models::Model;
use vistok::train::recipe::Recipe;
use vistok::train::{Samples, Score, Settings, Trainer};

use super::folder::Folder;
use super::learning::Pace;
use super::log::{Log, Measure};
use super::machine::Machine;
use super::{Error, score};

/// The line of a run in its own folder: what was measured is not measured again by who continues a run that has ended.
const RESULT: &str = "result.json";

/// Where the result of a run goes.
#[derive(Debug, Args)]
pub(super) struct ResultArgument {
    /// Add one line of JSON about the run to this file when it has ended: `label`, `model`, `network`, `macs`, `parameters`, `recipe`,
    /// `seed`, `steps`, `epochs`, `batch`, `precision`, `final_loss`, `test_accuracy` (or `test_mean_iou`), `best_score`, `best_epoch`,
    /// `train_seconds`, `images_per_second`, `gpu_busy`, `adapter` and more. Several runs may end at once; a run that was interrupted and
    /// resumed, even after its end, has one line.
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// What that line calls the run.
    #[arg(long, value_name = "TEXT", requires = "result")]
    label: Option<String>,
}

/// A run that has ended.
pub(super) struct Ended<'a> {
    pub(super) machine: &'a Machine,
    pub(super) trainer: &'a Trainer,
    pub(super) model: &'a dyn Model,
    pub(super) settings: &'a Settings,
    pub(super) recipe: &'a Recipe,
    /// To train on and to test with, and their name.
    pub(super) images: (&'a dyn Samples, &'a dyn Samples, &'a str),
    pub(super) score: &'a Score,
    /// What the test images say.
    pub(super) measure: Measure,
    /// How fast this process was, where it did any step.
    pub(super) pace: Option<Pace>,
}

impl ResultArgument {
    /// Before hours are spent: can the line be written?
    pub(super) fn probe(&self) -> Result<(), Error> {
        let Some(path) = &self.result else { return Ok(()) };
        open(path).map(drop).map_err(|source| refused(path, source))
    }

    /// Adds the line.
    pub(super) fn write(&self, folder: &Folder, ended: &Ended<'_>) -> Result<(), Error> {
        let Some(path) = &self.result else { return Ok(()) };
        let known = match ended.pace {
            Some(_) => None,
            None => kept(&folder.file(RESULT), ended.settings.steps),
        };
        let mut document = known.map_or_else(|| ended.document(folder), Ok)?;
        document["label"] = json!(self.label);
        let line = format!("{document}\n");
        folder.write(RESULT, line.as_bytes())?;
        append(path, &line).map_err(|source| refused(path, source))
    }
}

/// What a run of so many steps has left of itself, if it has.
fn kept(file: &Path, steps: u64) -> Option<Value> {
    let document: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    (document["steps"].as_u64() == Some(steps)).then_some(document)
}

fn refused(path: &Path, source: io::Error) -> Error {
    let remedy = "--result must name a file that lines can be added to";
    Error::File { path: path.display().to_string(), source, remedy }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Adds a line that the file does not have yet: all of it or nothing. Who adds lines at the same time waits.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = open(path)?;
    if !file.metadata()?.is_file() {
        return file.write_all(line.as_bytes());
    }
    // Where files cannot be locked, the line is still written at once.
    let _ = file.lock();
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    if before.split(|&byte| byte == b'\n').any(|own| own == line.trim_end().as_bytes()) {
        return Ok(());
    }
    let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let (mut kept, tail) = (before.len(), &before[whole..]);
    let mut added = line.to_owned();
    match serde_json::from_slice::<Value>(tail) {
        _ if tail.is_empty() => {}
        Ok(_) => added.insert(0, '\n'),
        // A process was killed over it.
        Err(_) => {
            kept = whole;
            file.set_len(kept as u64)?;
        }
    }
    let written = file.write_all(added.as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // What failed is reported; the next one to add a line cuts off what this could not.
        let _ = file.set_len(kept as u64);
    }
    written
}

impl Ended<'_> {
    fn document(&self, folder: &Folder) -> Result<Value, Error> {
        let Self { machine, trainer, model, settings, recipe, images: (train, test, data), score, .. } = self;
        let about = trainer.about();
        let count = Count::of(*model, about.image, 1)?;
        let refuse = |error: serde_json::Error| Error::Refused(error.to_string());
        let network: Value = serde_json::from_str(&model.description()).map_err(refuse)?;
        let info = machine.device.info();
        let mut document = json!({
            "label": null,
            "version": env!("CARGO_PKG_VERSION"),
            "model": model.name(),
            "network": network,
            "image": about.image,
            "classes": model.classes(),
            "macs": count.multiply_adds(),
            "parameters": count.parameters,
            "data": data,
            "train_images": train.count(),
            "test_images": test.count(),
            "skipped_images": [train.skipped(), test.skipped()],
            "recipe": serde_json::to_value(recipe).map_err(refuse)?,
            "seed": settings.seed,
            "steps": settings.steps,
            "epochs": recipe.epochs,
            "batch": settings.batch,
            "precision": if settings.elem == Elem::F16 { "f16" } else { "f32" },
            "skipped_steps": trainer.loss_scale()?.map(|(_, skipped)| skipped),
            "adapter": info.name,
            "driver": format!("{} {}", info.driver, info.driver_info).trim(),
            "backend": info.backend.to_string(),
        });
        score::tell(score, &mut document);
        self.measured(folder, &mut document)?;
        Ok(document)
    }

    /// What the log says of the whole run, and what was measured in this process.
    fn measured(&self, folder: &Folder, document: &mut Value) -> Result<(), Error> {
        let Self { settings, measure, pace, .. } = self;
        let (steps, passes) = Log::rows(folder, *measure)?;
        let scored = passes.iter().filter_map(|row| Some((row.epoch, row.score?)));
        // Of equals the first.
        let best = scored.reduce(|best, row| if row.1 > best.1 { row } else { best });
        let seconds = steps.last().map_or(0.0, |row| row.seconds);
        let images = settings.steps.saturating_mul(settings.images_of_step() as u64) as f64;
        document["final_loss"] = json!(passes.last().map(|row| row.loss));
        document["best_score"] = json!(best.map(|(_, score)| score));
        document["best_epoch"] = json!(best.map(|(epoch, _)| epoch));
        document["train_seconds"] = json!(seconds);
        document["images_per_second"] = json!((seconds > 0.0).then(|| images / seconds));
        document["gpu_step_ms"] = json!(pace.and_then(|pace| pace.gpu).map(|seconds| 1e3 * seconds));
        document["gpu_busy"] = json!(pace.and_then(|pace| pace.busy()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn lines_of_many_at_once_are_whole_and_each_is_there_once() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("results.jsonl");
        std::thread::scope(|scope| {
            for process in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for run in 0..20 {
                        let line =
                            format!("{}\n", json!({ "label": format!("{process}/{run}"), "seeds": vec![run; 300] }));
                        append(path, &line).and_then(|()| append(path, &line)).expect("lines can be added");
                    }
                });
            }
        });
        let text = fs::read_to_string(&path)?;
        let mut labels: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a whole line")["label"].to_string())
            .collect();
        labels.sort();
        labels.dedup();
        assert_eq!((labels.len(), text.lines().count()), (160, 160));
        Ok(())
    }

    #[test]
    fn a_line_that_was_cut_off_goes_and_one_without_end_stays() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("results.jsonl");
        for (before, after) in [
            ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n{\"c\":3}\n"),
            ("{\"b\":", "{\"c\":3}\n"),
            ("{\"a\":1}", "{\"a\":1}\n{\"c\":3}\n"),
            ("{\"c\":3}\n", "{\"c\":3}\n"),
            ("{\"c\":3}", "{\"c\":3}"),
            ("{\"c\":3", "{\"c\":3}\n"),
            ("", "{\"c\":3}\n"),
        ] {
            fs::write(&path, before)?;
            append(&path, "{\"c\":3}\n")?;
            assert_eq!(fs::read_to_string(&path)?, after, "{before}");
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said() {
        assert!(append(Path::new("/dev/full"), "{}\n").is_err());
    }
}
