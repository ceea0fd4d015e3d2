//! Debian's packages: installed where a program is meant to be used, or only unpacked where it would change the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::adapter::{apt_get, as_root};
use crate::steps::{must, output};

/// Makes sure that `program` runs, installing `package` where it does not and this is allowed.
pub fn ensure(program: &str, package: &str) -> Result<(), String> {
    let runs = || output(Command::new(program).arg("--version")).is_some();
    if runs() {
        return Ok(());
    }
    let command = format!("apt-get update && apt-get install -y --no-install-recommends {package}");
    let debian = Path::new("/etc/debian_version").exists();
    let Some(prefix) = as_root().filter(|_| debian) else {
        return Err(format!("there is no `{program}`. On Debian, as root:\n    {command}"));
    };
    println!("xtask: there is no `{program}`; installing {package}");
    must(&mut apt_get(prefix, &["update"]))?;
    must(&mut apt_get(prefix, &["install", "-y", "--no-install-recommends", package]))?;
    if runs() { Ok(()) } else { Err(format!("`{program}` does not start, though `{command}` succeeded")) }
}

/// The folder that holds `file` of Chromium's own libraries: a SwiftShader, and Vulkan's validation layer, newer than
/// Debian's own.
///
/// They are taken from an installed Chromium, or unpacked under `target/`: never installed for the sake of tests, since
/// wgpu would from then on load an installed layer into every debug build.
pub fn chromium_libraries(file: &str) -> Result<PathBuf, String> {
    const PLACE: &str = "usr/lib/chromium";
    let installed = Path::new("/").join(PLACE);
    let unpacked = crate::repository().join("target/chromium-common");
    let root = unpacked.join("root");
    if let Some(found) = [installed, root.join(PLACE)].into_iter().find(|folder| folder.join(file).exists()) {
        return Ok(found);
    }
    let remedy =
        "it is in Debian's package chromium-common, whose `apt-get download` needs an up-to-date `apt-get update`";
    println!("xtask: unpacking chromium-common (27 MB) under {}", unpacked.display());
    let downloads = unpacked.join("download");
    fs::create_dir_all(&downloads).map_err(|error| format!("cannot make {}: {error}", downloads.display()))?;
    if let Some(prefix) = as_root() {
        must(&mut apt_get(prefix, &["update"]))?;
    }
    must(Command::new("apt-get").args(["download", "chromium-common"]).current_dir(&downloads))
        .map_err(|error| format!("{error}\nthere is no {file}: {remedy}"))?;
    let packages = fs::read_dir(&downloads).map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
    // Under another name until it is whole: what an interrupted run left would be taken for good.
    let partial = unpacked.join("partial");
    let error = |error: std::io::Error| format!("cannot write under {}: {error}", unpacked.display());
    for package in packages.filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(error)?;
        }
        must(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&partial))?;
        let _ = fs::remove_file(&package);
    }
    if root.exists() {
        fs::remove_dir_all(&root).map_err(error)?;
    }
    fs::rename(&partial, &root).map_err(error)?;
    let folder = root.join(PLACE);
    if folder.join(file).exists() { Ok(folder) } else { Err(format!("chromium-common holds no {file}: {remedy}")) }
}
