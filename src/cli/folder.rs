//! A folder for results: proven writable before the work starts, and no file in it is ever half-written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// A folder that files can be written to.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if it is not there, and writes and removes a file in it.
    pub(crate) fn prepare(path: &Path) -> Result<Self, Error> {
        let refuse = |source: io::Error| Error::File {
            path: path.display().to_string(),
            source,
            remedy: "--out must name a folder that you may write to, or one that can be made",
        };
        fs::create_dir_all(path).map_err(refuse)?;
        let probe = path.join(format!(".vistok.{}.partial", std::process::id()));
        File::create(&probe).and_then(|mut file| file.write_all(b"probe")).map_err(refuse)?;
        fs::remove_file(&probe).map_err(refuse)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file: under another name first, which becomes `name` only when all of it is on the disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        let partial = self.file(&format!(".{name}.{}.partial", std::process::id()));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        });
        match written {
            Ok(()) => Ok(path),
            Err(source) => {
                // What failed is reported; a leftover that cannot be removed either is not worse.
                let _ = fs::remove_file(&partial);
                let remedy = "is the disk full, or the folder gone?";
                Err(Error::File { path: path.display().to_string(), source, remedy })
            }
        }
    }
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

    #[test]
    fn a_file_in_the_place_of_the_folder_is_refused() -> io::Result<()> {
        let outer = tempfile::tempdir()?;
        fs::write(outer.path().join("taken"), b"")?;
        assert!(Folder::prepare(&outer.path().join("taken")).is_err());
        assert!(Folder::prepare(&outer.path().join("taken/below")).is_err());
        Ok(())
    }
}
