//! `cargo xtask check spirv`: what a Vulkan driver would be given, under Khronos' validator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::coop_root::{self, inside};
use crate::packages;
use crate::steps::output;
use crate::translations::{Build, Translations};

const ENVIRONMENT: [&str; 2] = ["--target-env", "vulkan1.3"];
/// The three ways in which `tests/interfaces` writes a build.
const WAYS: [&str; 3] = ["unchecked", "checked", "clamped"];

/// naga's known fault, for which wgpu silences its own validation: arrays in workgroup memory and in variables of functions
/// carry a stride, as if they lay in a storage buffer (<https://github.com/gfx-rs/wgpu/issues/7696>). No driver minds.
pub const KNOWN_LAYOUT: &str = "storage class has an explicit layout from the ArrayStride decoration";

/// Checks all builds; cooperative ones by the validator of the root that runs them, as Debian 12's knows none.
pub fn check(translations: &Translations) -> Result<ExitCode, String> {
    packages::ensure("spirv-val", "spirv-tools")?;
    let (cooperative, plain): (Vec<&Build>, Vec<&Build>) =
        translations.builds.iter().partition(|build| build.needs("cooperative"));
    let here = Validator { root: None, folder: translations.folder.clone() };
    here.refuses_a_wrong_module()?;
    let mut found = here.verdicts(&plain);
    let knows = |build: &&Build| !matches!(here.verdict(build.number, WAYS[0]), Verdict::Wrong(_));
    let newer = if cooperative.first().is_none_or(knows) { here } else { in_root(&translations.folder)? };
    newer.refuses_a_wrong_module()?;
    found.extend(newer.verdicts(&cooperative));
    let (mut wrong, mut known) = (0, 0);
    for (name, verdict) in &found {
        match verdict {
            Verdict::Right => {}
            Verdict::Known => known += 1,
            Verdict::Wrong(said) => {
                wrong += 1;
                println!("{name}: {said}");
            }
        }
    }
    println!(
        "spirv-val: {wrong} of {} modules are wrong ({} builds, {} of them cooperative); of {known} it says naga's known \
         fault, and no more; a spoiled module was refused",
        found.len(),
        translations.builds.len(),
        cooperative.len(),
    );
    Ok(if wrong == 0 && !found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The validator of the root with cooperative matrices, and copies of the modules that it can see.
fn in_root(from: &Path) -> Result<Validator, String> {
    if let Some(why) = coop_root::obstacle() {
        return Err(format!("this spirv-val knows no cooperative matrices, and there is no newer one: {why}"));
    }
    println!("   this spirv-val knows no cooperative matrices; those modules go to a newer one");
    let root = coop_root::ensure()?;
    if output(inside(&root, "spirv-val").arg("--version")).is_none() {
        coop_root::apt(&root, &["update"])?;
        coop_root::apt(&root, &["install", "-y", "--no-install-recommends", "spirv-tools"])?;
    }
    let to = root.join("root/translations");
    let error = |error: std::io::Error| format!("cannot copy the modules into {}: {error}", to.display());
    if to.exists() {
        fs::remove_dir_all(&to).map_err(error)?;
    }
    fs::create_dir_all(&to).map_err(error)?;
    for entry in fs::read_dir(from).map_err(error)?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "spv") {
            fs::copy(entry.path(), to.join(entry.file_name())).map_err(error)?;
        }
    }
    Ok(Validator { root: Some(root), folder: to })
}

struct Validator {
    root: Option<PathBuf>,
    folder: PathBuf,
}

/// What the validator says of a module. It stops at the first fault that it meets.
enum Verdict {
    Right,
    /// [`KNOWN_LAYOUT`].
    Known,
    Wrong(String),
}

impl Validator {
    /// A verdict of every module, with its name.
    fn verdicts(&self, builds: &[&Build]) -> Vec<(String, Verdict)> {
        let modules: Vec<(&Build, &str)> = builds.iter().flat_map(|build| WAYS.map(|way| (*build, way))).collect();
        let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some((build, way)) = modules.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let verdict = (format!("{}, {way}", build.name), self.verdict(build.number, way));
                        verdicts.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
                    }
                });
            }
        });
        verdicts.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, number: usize, way: &str) -> Verdict {
        self.validate(&format!("{number}.{way}.spv"))
    }

    /// What the validator says of a file of the folder.
    fn validate(&self, file: &str) -> Verdict {
        let mut command = match &self.root {
            None => Command::new("spirv-val"),
            Some(root) => inside(root, "spirv-val"),
        };
        let path = match &self.root {
            None => self.folder.join(file),
            Some(_) => Path::new("/root/translations").join(file),
        };
        match command.args(ENVIRONMENT).arg(path).output() {
            Err(error) => Verdict::Wrong(format!("spirv-val does not start: {error}")),
            Ok(done) if done.status.success() => Verdict::Right,
            Ok(done) => {
                let said =
                    [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
                if said.contains(KNOWN_LAYOUT) { Verdict::Known } else { Verdict::Wrong(said.trim().to_owned()) }
            }
        }
    }

    /// The check itself is checked: a module that does not declare what a shader needs must be refused.
    fn refuses_a_wrong_module(&self) -> Result<(), String> {
        let path = self.folder.join(format!("0.{}.spv", WAYS[0]));
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let wrong = spoiled(&bytes).ok_or_else(|| format!("{} declares no shader", path.display()))?;
        let canary = self.folder.join("canary.spv");
        fs::write(&canary, wrong).map_err(|error| format!("cannot write {}: {error}", canary.display()))?;
        match self.validate("canary.spv") {
            Verdict::Wrong(said) if said.contains("capabilities: Shader") => Ok(()),
            Verdict::Wrong(said) => {
                Err(format!("a module that declares no shader was refused for something else: {said}"))
            }
            _ => Err("a module that declares no shader was not refused".to_owned()),
        }
    }
}

/// The module with its `OpCapability Shader` made `OpCapability Matrix`.
fn spoiled(bytes: &[u8]) -> Option<Vec<u8>> {
    const OP_CAPABILITY: u32 = 2 << 16 | 17;
    const SHADER: [u8; 4] = 1u32.to_le_bytes();
    let at =
        bytes.windows(8).step_by(4).position(|two| two[..4] == OP_CAPABILITY.to_le_bytes() && two[4..] == SHADER)?;
    let mut wrong = bytes.to_vec();
    wrong[4 * at + 4] = 0;
    Some(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_spoiled_in_one_word() {
        let module: Vec<u8> = [9, 2 << 16 | 17, 9, 2 << 16 | 17, 1].into_iter().flat_map(u32::to_le_bytes).collect();
        let wrong = spoiled(&module).expect("it is a shader");
        let at: Vec<usize> = (0..module.len()).filter(|&at| module[at] != wrong[at]).collect();
        assert_eq!(at, [16]);
        assert!(spoiled(&module[..16]).is_none());
    }
}
