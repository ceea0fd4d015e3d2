//! A folder for results: of one process at a time, proven writable before the work starts, and no file in it is ever
//! half-written.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use vistok::train::files::{self, is_leftover};

use super::Error;

/// A folder that files can be written to.
pub(crate) struct Folder {
    path: PathBuf,
    /// The folder itself, locked; the system unlocks it when the process ends, however it ends. `None` where folders
    /// cannot be locked.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the folder if it is not there, takes it for this process, removes what a killed process left half-written
    /// there, and writes and removes a file in it.
    pub(crate) fn prepare(path: &Path) -> Result<Self, Error> {
        let refuse = |source: io::Error| Error::File {
            path: path.display().to_string(),
            source,
            remedy: "--out must name a folder that you may write to, or one that can be made",
        };
        fs::create_dir_all(path).map_err(refuse)?;
        let lock = lock(path)?;
        if lock.is_some() {
            clean(path).map_err(refuse)?;
        }
        files::probe(path).map_err(refuse)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file: under another name first, which becomes `name` only when all of it is on the disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        match files::replace(&path, bytes) {
            Ok(()) => Ok(path),
            Err(source) => {
                let remedy = "is the disk full, or the folder gone?";
                Err(Error::File { path: path.display().to_string(), source, remedy })
            }
        }
    }
}

/// Locks a folder for this process. Two runs that overwrite each other's weights would both be lost.
fn lock(path: &Path) -> Result<Option<File>, Error> {
    // Windows opens no folders, and some network file systems lock none: then nothing is promised and nothing removed.
    let Ok(folder) = File::open(path) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => {
            let reason =
                format!("another vistok is writing to {}; wait for it, or choose another --out", path.display());
            Err(Error::Refused(reason))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Removes half-written files; the folder is ours alone, so whoever was writing them is dead.
fn clean(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_leftover) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_leaves_the_file_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let outer = tempfile::tempdir()?;
        let folder = Folder::prepare(&outer.path().join("a/b"))?;
        assert_eq!(fs::read_dir(outer.path().join("a/b"))?.count(), 0);
        folder.write("x", b"first")?;
        assert_eq!(fs::read(folder.write("x", b"second")?)?, b"second");
        fs::create_dir(folder.file("taken"))?;
        assert!(folder.write("taken", b"bytes").is_err());
        assert_eq!(fs::read_dir(outer.path().join("a/b"))?.count(), 2);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_of_one_at_a_time_and_cleaned() -> Result<(), Box<dyn std::error::Error>> {
        let outer = tempfile::tempdir()?;
        for name in [".model.safetensors.12.partial", "mine.12.partial", "model.safetensors"] {
            fs::write(outer.path().join(name), b"half")?;
        }
        let folder = Folder::prepare(outer.path())?;
        assert_eq!(fs::read_dir(outer.path())?.count(), 2);
        assert!(Folder::prepare(outer.path()).is_err_and(|error| error.to_string().contains("another vistok")));
        drop(folder);
        Folder::prepare(outer.path())?;
        Ok(())
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_refused() -> io::Result<()> {
        let outer = tempfile::tempdir()?;
        fs::write(outer.path().join("taken"), b"")?;
        assert!(Folder::prepare(&outer.path().join("taken")).is_err());
        assert!(Folder::prepare(&outer.path().join("taken/below")).is_err());
        Ok(())
    }
}
