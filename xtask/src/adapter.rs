//! Makes sure that a Vulkan adapter exists: a loader, and a driver with something to drive.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{must, output};

/// A loader and Mesa's drivers, the software one among them.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// The environment variables that replace the search for drivers; the first is the newer name.
const OVERRIDES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Returns once this machine has an adapter; installs Mesa's software one where there is none and this is allowed.
/// Otherwise the error says the command to run.
pub fn ensure() -> Result<(), String> {
    // macOS has Metal and Windows has Direct3D 12, always.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let Some(missing) = missing() else { return Ok(()) };
    if let Some(name) = OVERRIDES.iter().find(|name| env::var_os(name).is_some()) {
        return Err(format!("no Vulkan adapter: {missing}, and {name} is set: unset it, or name a driver that exists"));
    }
    let command = format!("apt-get update && apt-get install -y {}", PACKAGES.join(" "));
    if output(Command::new("apt-get").arg("--version")).is_none() {
        return Err(format!(
            "no Vulkan adapter: {missing}. Install a Vulkan loader and driver; Mesa's software driver `lavapipe` is \
             enough (on Debian: {command})"
        ));
    }
    let Some(prefix) = as_root() else {
        return Err(format!("no Vulkan adapter: {missing}. Run this as root, then try again:\n    {command}"));
    };
    println!("xtask: no Vulkan adapter: {missing}; installing Mesa's software one");
    must(&mut apt_get(prefix, &["update"]))?;
    must(&mut apt_get(prefix, &[&["install", "-y"][..], &PACKAGES].concat()))?;
    match self::missing() {
        None => Ok(()),
        Some(missing) => Err(format!("no Vulkan adapter, though `{command}` succeeded: {missing}")),
    }
}

/// `apt-get` that asks nothing, as root.
pub fn apt_get(prefix: &[&str], arguments: &[&str]) -> Command {
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// What to put in front of a command so that it runs as root: nothing, `sudo -n`, or `None` where neither works.
pub fn as_root() -> Option<&'static [&'static str]> {
    if is_root() {
        return Some(&[]);
    }
    output(Command::new("sudo").args(["-n", "true"])).map(|_| &["sudo", "-n"][..])
}

/// Whether we are root.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

/// What an adapter lacks on this machine; `None` where nothing is lacking.
fn missing() -> Option<String> {
    if !library_exists("libvulkan.so.1") {
        return Some("there is no Vulkan loader (libvulkan.so.1)".to_owned());
    }
    let manifests = manifests();
    if manifests.is_empty() {
        return Some("there is no Vulkan driver (no .json in any vulkan/icd.d)".to_owned());
    }
    let has_device = has_device();
    let usable = manifests.iter().any(|manifest| {
        let library = fs::read_to_string(manifest).ok().and_then(|json| library_path(&json));
        library.is_some_and(|library| drives_something(&library, has_device) && driver_exists(manifest, &library))
    });
    (!usable).then(|| format!("none of its {} Vulkan drivers is a software one or has a GPU to drive", manifests.len()))
}

/// A driver for hardware without hardware offers no adapter.
fn drives_something(library: &str, has_device: bool) -> bool {
    has_device || ["lvp", "lavapipe", "swiftshader"].iter().any(|name| library.contains(name))
}

fn driver_exists(manifest: &Path, library: &str) -> bool {
    match manifest.parent() {
        // As the loader does: a path with a slash is a path, relative to the manifest; else it is a name to look up.
        Some(folder) if library.contains('/') => folder.join(library).exists(),
        _ => library_exists(library),
    }
}

/// A device node of a GPU: kernel drivers of Linux, NVIDIA's, and Windows' under Linux.
fn has_device() -> bool {
    let renders = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    renders.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
        || ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"].iter().any(|node| Path::new(node).exists())
}

/// Whether the dynamic linker would find `name`: its cache, its variable and its usual folders.
fn library_exists(name: &str) -> bool {
    let cached = ["ldconfig", "/sbin/ldconfig"].iter().any(|ldconfig| {
        let listing = output(Command::new(ldconfig).arg("-p")).unwrap_or_default();
        listing.lines().any(|line| line.split_whitespace().next() == Some(name))
    });
    let machine = format!("{}-linux-gnu", env::consts::ARCH);
    let usual = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"].map(PathBuf::from);
    let named = split_paths("LD_LIBRARY_PATH");
    cached
        || usual.into_iter().chain(named).any(|dir| dir.join(name).exists() || dir.join(&machine).join(name).exists())
}

/// The drivers' manifests that a Vulkan loader would read.
fn manifests() -> Vec<PathBuf> {
    if let Some(name) = OVERRIDES.iter().find(|name| env::var_os(name).is_some()) {
        return split_paths(name)
            .into_iter()
            .flat_map(|path| if path.is_dir() { jsons(&path) } else { vec![path] })
            .collect();
    }
    let mut roots: Vec<PathBuf> =
        ["/etc", "/usr/local/etc", "/usr/share", "/usr/local/share", "/etc/xdg"].map(PathBuf::from).into();
    roots.extend(split_paths("XDG_CONFIG_DIRS").into_iter().chain(split_paths("XDG_DATA_DIRS")));
    if let Some(home) = env::var_os("HOME").map(PathBuf::from) {
        roots.extend([home.join(".local/share"), home.join(".config")]);
    }
    roots.iter().flat_map(|root| jsons(&root.join("vulkan/icd.d"))).collect()
}

fn jsons(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn split_paths(variable: &str) -> Vec<PathBuf> {
    env::var_os(variable).map_or_else(Vec::new, |paths| env::split_paths(&paths).collect())
}

/// The value of `"library_path"` in a driver's manifest.
fn library_path(json: &str) -> Option<String> {
    let (_, rest) = json.split_once("\"library_path\"")?;
    let (_, rest) = rest.trim_start().strip_prefix(':')?.split_once('"')?;
    rest.split_once('"').map(|(path, _)| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_library() {
        let json = r#"{ "ICD": { "api_version": "1.3", "library_path" : "/usr/lib/libvulkan_lvp.so" } }"#;
        assert_eq!(library_path(json).as_deref(), Some("/usr/lib/libvulkan_lvp.so"));
        assert_eq!(library_path("{}"), None);
        assert_eq!(library_path(r#"{"library_path": 3}"#), None);
    }

    #[test]
    fn hardware_drivers_need_hardware() {
        assert!(!drives_something("/usr/lib/libvulkan_radeon.so", false));
        assert!(drives_something("/usr/lib/libvulkan_radeon.so", true));
        assert!(drives_something("/usr/lib/libvulkan_lvp.so", false));
    }

    #[test]
    fn a_library_that_is_nowhere_is_not_found() {
        assert!(!library_exists("libno-such-library.so.9"));
    }
}
