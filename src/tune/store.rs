//! Choices on disk, a file for each adapter and driver; it can be shipped to machines of the same kind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gpu::Device;
use crate::kernel::tuning::Choices;
use crate::train::data::digest;
use crate::train::files;

/// Where the choices for one adapter and driver are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    path: PathBuf,
    machine: String,
}

/// Why choices were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// The file is no table of choices.
    #[error("{path} is no table of choices ({reason}): remove it, and `vistok tune` writes it anew")]
    Format {
        /// The file.
        path: String,
        /// What the reader saw.
        reason: String,
    },
    /// The file is of another machine.
    #[error("{path} was tuned on {there}, and this is {here}: tune here")]
    Elsewhere {
        /// The file.
        path: String,
        /// The machine that it is of.
        there: String,
        /// This machine.
        here: String,
    },
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    machine: String,
    tiles: Choices,
}

impl Store {
    /// The file for this device's adapter and driver in a folder.
    #[must_use]
    pub fn of(device: &Device, folder: &Path) -> Self {
        let machine = device.machine();
        Self { path: folder.join(format!("tiles-{:016x}.json", digest(machine.bytes()))), machine }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was chosen; nothing where there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read, is no such table, or is of another machine.
    pub fn read(&self) -> Result<Choices, StoreError> {
        let path = || self.path.display().to_string();
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Choices::default()),
            read => read.map_err(|source| StoreError::Io { path: path(), source })?,
        };
        let table: Table = serde_json::from_str(&text)
            .map_err(|error| StoreError::Format { path: path(), reason: error.to_string() })?;
        if table.machine != self.machine {
            return Err(StoreError::Elsewhere { path: path(), there: table.machine, here: self.machine.clone() });
        }
        Ok(table.tiles)
    }

    /// Keeps these choices, in place of those that were kept.
    ///
    /// # Errors
    /// When the file system refuses; the file is then what it was.
    pub fn write(&self, choices: &Choices) -> Result<(), StoreError> {
        let table = Table { machine: self.machine.clone(), tiles: choices.clone() };
        let text = serde_json::to_string_pretty(&table).map_err(io::Error::other);
        let made = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = made.and(text).and_then(|text| files::replace(&self.path, text.as_bytes()));
        written.map_err(|source| StoreError::Io { path: self.path.display().to_string(), source })
    }
}
