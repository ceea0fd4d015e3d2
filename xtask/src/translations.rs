//! Every build of every kernel as files: `tests/interfaces` writes them, validators read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::must;
use crate::test_program;

/// Where they lie.
pub struct Translations {
    /// The folder.
    pub folder: PathBuf,
    /// The builds in it, by their numbers.
    pub builds: Vec<Build>,
}

/// A line of the list of builds.
pub struct Build {
    /// Its number: the stem of its files.
    pub number: usize,
    /// What it needs beyond WebGPU's defaults: `f16`, `cooperative`, `large` (workgroups).
    pub needs: String,
    /// Its bindings: `u` or `-` for the uniform 0, then `r` or `w` for each storage buffer.
    pub bindings: String,
    /// Kernel and variant.
    pub name: String,
}

impl Build {
    /// Whether it needs this.
    pub fn needs(&self, what: &str) -> bool {
        self.needs.split(',').any(|need| need == what)
    }
}

/// Translates everything anew, which is a test of its own.
pub fn write() -> Result<Translations, String> {
    let programs = test_program::build(&["interfaces"])?;
    let folder = crate::repository().join("target/translations");
    let mut program = Command::new(&programs[0]);
    must(program.arg("--quiet").env("VISTOK_TRANSLATIONS", &folder).current_dir(crate::repository()))?;
    let builds = read(&folder)?;
    println!("   {} builds in {}", builds.len(), folder.display());
    Ok(Translations { folder, builds })
}

fn read(folder: &Path) -> Result<Vec<Build>, String> {
    let list = folder.join("index.tsv");
    let text = fs::read_to_string(&list).map_err(|error| format!("cannot read {}: {error}", list.display()))?;
    let builds: Option<Vec<Build>> = text.lines().map(line).collect();
    match builds {
        Some(builds) if !builds.is_empty() => Ok(builds),
        _ => Err(format!("{} is not a list of builds", list.display())),
    }
}

fn line(line: &str) -> Option<Build> {
    let mut fields = line.splitn(4, '\t');
    let mut next = || fields.next().map(str::to_owned);
    Some(Build { number: next()?.parse().ok()?, needs: next()?, bindings: next()?, name: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_build() {
        let build = line("7\tf16,large\turrw\tadd/forward [elem_f16]").expect("four fields");
        assert_eq!((build.number, build.name.as_str()), (7, "add/forward [elem_f16]"));
        assert!(build.needs("f16") && build.needs("large") && !build.needs("cooperative"));
        assert!(line("7\tf16\turrw").is_none() && line("x\t\turrw\tadd").is_none());
    }
}
