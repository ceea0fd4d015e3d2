//! A Debian root in `.coop-root/` with a Mesa whose software Vulkan has cooperative matrices; built once.
//!
//! Debian 12's Mesa and its backport have none; Debian 13 with its backports carries one that has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::adapter::{apt_get, is_root};
use crate::mirror;
use crate::steps::{must, output};

const SUITE: &str = "trixie";
/// What Debian's releases are signed by.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The first Mesa, by its major number, that was seen to have what we need.
const MESA: u32 = 26;
/// Written last, so that a root without it is one whose building was interrupted.
const MARKER: &str = "vistok-complete";

/// Why a root cannot be built or entered on this machine, and the remedy; `None` where it can.
pub fn obstacle() -> Option<String> {
    if !Path::new("/etc/debian_version").exists() {
        return Some("it needs Debian or Ubuntu; run it in a container of one".to_owned());
    }
    (!is_root()).then(|| "it needs root, for debootstrap and chroot; run it as root".to_owned())
}

/// The finished root; builds it where there is none, or only a part.
pub fn ensure() -> Result<PathBuf, String> {
    let root = crate::repository().join(".coop-root");
    if root.join(MARKER).exists() {
        return Ok(root);
    }
    if root.exists() {
        println!("xtask: {} is incomplete; building it anew", root.display());
        remove(&root)?;
    }
    println!("xtask: building {} (about a minute, 750 MB)", root.display());
    let debootstrap = || Command::new("debootstrap");
    if output(debootstrap().arg("--version")).is_none() || !Path::new(KEYRING).exists() {
        must(&mut apt_get(&[], &["update"]))?;
        must(&mut apt_get(&[], &["install", "-y", "debootstrap", "debian-archive-keyring"]))?;
    }
    let named = std::env::var("VISTOK_DEBIAN_MIRROR").ok().filter(|mirror| !mirror.is_empty());
    let mirror = named.or_else(|| mirror::find(Path::new("/etc/apt")));
    let secure = mirror.as_ref().is_some_and(|mirror| mirror.starts_with("https:"));
    let mut bootstrap = debootstrap();
    bootstrap.args(["--variant=minbase", "--force-check-gpg"]).args(secure.then_some("--include=ca-certificates"));
    // Without a mirror debootstrap takes its own default.
    bootstrap.arg(SUITE).arg(&root).args(&mirror);
    must(&mut bootstrap).map_err(|error| {
        format!("{error}\nVISTOK_DEBIAN_MIRROR can name another Debian mirror that carries {SUITE}")
    })?;
    let mesa = install_mesa(&root)?;
    write(&root.join(MARKER), &format!("mesa-vulkan-drivers {mesa}\n"))?;
    println!("xtask: {} is ready, with Mesa {mesa}", root.display());
    Ok(root)
}

/// Runs a program inside `root`, with an environment of its own: the variables of this machine's Vulkan mean nothing there.
pub fn inside(root: &Path, program: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).arg(program).env_clear().env("HOME", "/root").env("LC_ALL", "C.UTF-8");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Installs Mesa from the backports of the mirror that the root came from; returns its version.
fn install_mesa(root: &Path) -> Result<String, String> {
    let list = root.join("etc/apt/sources.list");
    let text = fs::read_to_string(&list).map_err(|error| format!("cannot read {}: {error}", list.display()))?;
    let mirror =
        mirror::of_lines(&text).ok_or_else(|| format!("{} names no Debian mirror:\n{text}", list.display()))?;
    let backports = format!("{SUITE}-backports");
    write(&root.join("etc/apt/sources.list.d/backports.list"), &format!("deb {mirror} {backports} main\n"))?;
    write(&root.join("etc/apt/apt.conf.d/90host"), &connection())?;
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if mirror.starts_with("https:") && certificates.exists() {
        let to = root.join("etc/ssl/certs/ca-certificates.crt");
        fs::copy(certificates, &to).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    }
    apt(root, &["update"])?;
    apt(root, &["install", "-y", "--no-install-recommends", "-t", &backports, "mesa-vulkan-drivers", "libvulkan1"])?;
    apt(root, &["clean"])?;
    let mut query = inside(root, "dpkg-query");
    query.args(["--show", "--showformat=${Version}", "mesa-vulkan-drivers"]);
    let version = output(&mut query).ok_or("dpkg-query does not know mesa-vulkan-drivers inside the root")?;
    if version.split(['.', ':']).next().and_then(|major| major.parse().ok()).is_none_or(|major: u32| major < MESA) {
        return Err(format!(
            "{mirror} offers Mesa {version} in {backports}, which has no cooperative matrices in software; {MESA} has. \
             VISTOK_DEBIAN_MIRROR can name an up-to-date mirror"
        ));
    }
    Ok(version)
}

/// Runs apt-get inside `root`, through the proxies that this machine's variables name.
pub fn apt(root: &Path, words: &[&str]) -> Result<(), String> {
    let mut command = inside(root, "apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().to_lowercase().ends_with("_proxy")));
    must(&mut command)
}

/// How this machine's apt reaches its mirrors (proxies, retries, expired snapshots), as lines of an apt configuration.
fn connection() -> String {
    let kept = ["Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-Valid-Until"];
    let dump = output(Command::new("apt-config").arg("dump")).unwrap_or_default();
    let lines = dump.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Removes a root, after unmounting what an interrupted debootstrap left mounted in it (its `/proc` is the machine's).
fn remove(root: &Path) -> Result<(), String> {
    let real = fs::canonicalize(root).map_err(|error| format!("cannot find {}: {error}", root.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| format!("cannot read the mounts: {error}"))?;
    // In reverse, because what was mounted last may lie within what was mounted first. Spaces are written as \040.
    let points =
        mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(|point| point.replace("\\040", " "));
    for point in points.filter(|point| Path::new(point).starts_with(&real)) {
        must(Command::new("umount").arg(&point))?;
    }
    fs::remove_dir_all(&real).map_err(|error| format!("cannot remove {}: {error}; remove it by hand", real.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
