//! Files that are whole or what they were: written beside their place, put there when they are on the disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const PARTIAL: &str = ".partial";

/// Makes `path` hold `bytes`, or leaves it as it is. A process that is killed meanwhile leaves a file for which
/// [`is_leftover`] holds beside it, never a part of `bytes` under `path`.
///
/// # Errors
/// When the file system refuses. Only where it refuses to confirm the name at the very end is `path` the new file
/// already, which a loss of power may yet undo.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replacement::begin(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// A file that is written piece by piece beside its place, as [`replace`] writes one. Dropped before it is finished, it goes.
#[derive(Debug)]
pub struct Replacement {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl Replacement {
    /// Begins one for this place.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let partial = partial(path);
        let file = BufWriter::new(File::create(&partial)?);
        Ok(Self { file, partial, path: path.to_owned() })
    }

    /// Puts it there, when it is on the disk.
    ///
    /// # Errors
    /// As [`replace`].
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        sync_folder(&self.path)
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Once it is in its place there is none. What failed is reported; a leftover that cannot be removed either is not worse.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Makes `to` hold what `from` does: another name of the same file, or a copy where the file system has no links. A process that is
/// killed meanwhile leaves `to` as it was, and perhaps a file for which [`is_leftover`] holds.
///
/// # Errors
/// When the file system refuses; then `to` is what it was.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    let partial = partial(to);
    // What a dead process of our number has left may be another name of `from`: it must not be written into.
    let _ = fs::remove_file(&partial);
    let linked = fs::hard_link(from, &partial).and_then(|()| fs::rename(&partial, to));
    // Of two names of one file none takes the other's place.
    let _ = fs::remove_file(&partial);
    match linked {
        Ok(()) => sync_folder(to),
        Err(_) => replace(to, &fs::read(from)?),
    }
}

/// Finds out whether files can be written into a folder. Killed over it, it leaves a file for which [`is_leftover`] holds.
///
/// # Errors
/// When the file system refuses.
pub fn probe(folder: &Path) -> io::Result<()> {
    let file = partial(&folder.join("probe"));
    fs::write(&file, b"probe")?;
    fs::remove_file(&file)
}

/// The neighbor that is written first: of this process, so that two never write into one file.
fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}{PARTIAL}", std::process::id()));
    path.with_file_name(name)
}

/// Whether a file of this name is one that [`replace`] writes first. Whoever knows that no process writes into a folder
/// may remove those in it.
#[must_use]
pub fn is_leftover(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|name| name.strip_suffix(PARTIAL));
    let process = inner.and_then(|inner| inner.rsplit_once('.')).map(|(_, process)| process);
    process.is_some_and(|process| !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A new name is on the disk only when its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems have no such call; they do what they can without.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Elsewhere folders cannot be opened, and the file system's journal keeps the order.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_nothing() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("taken");
        fs::create_dir(&path)?;
        assert!(replace(&path, b"bytes").is_err());
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        let path = folder.path().join("free");
        replace(&path, b"first")?;
        replace(&path, b"second")?;
        assert_eq!(fs::read(&path)?, b"second");
        Ok(())
    }

    #[test]
    fn a_file_under_two_names_is_replaced_under_one() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let [newest, older] = ["newest", "older"].map(|name| folder.path().join(name));
        replace(&newest, b"first")?;
        link(&newest, &older)?;
        link(&newest, &older)?;
        replace(&newest, b"second")?;
        assert_eq!((fs::read(&newest)?, fs::read(&older)?), (b"second".to_vec(), b"first".to_vec()));
        link(&newest, &older)?;
        assert_eq!(fs::read(&older)?, b"second");
        assert!(link(&folder.path().join("absent"), &older).is_err());
        assert_eq!((fs::read(&older)?, fs::read_dir(folder.path())?.count()), (b"second".to_vec(), 2));
        Ok(())
    }

    #[test]
    fn leftovers_are_known_by_name() {
        let own = partial(Path::new("a/model.safetensors"));
        assert!(own.file_name().and_then(|name| name.to_str()).is_some_and(is_leftover), "{own:?}");
        for other in ["model.safetensors", ".partial", ".x.partial", ".x..partial", ".x.12a.partial", "x.12.partial"] {
            assert!(!is_leftover(other), "{other}");
        }
    }
}
