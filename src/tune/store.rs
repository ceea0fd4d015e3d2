//! Choices on disk, a file for each adapter and driver; it can be shipped to machines of the same kind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Tuned;
use crate::gpu::Device;
use crate::kernel::tuning::Choices;
use crate::kernel::tuning::gemm::Engine;
use crate::kernel::{Capabilities, Fragment};
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
    /// What was tried, and with which cooperative matrices.
    #[serde(default)]
    tried: BTreeMap<String, Option<Fragment>>,
}

/// What was found on a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// What plans take.
    pub choices: Choices,
    /// What was tried, whoever won.
    tried: BTreeMap<String, Option<Fragment>>,
}

impl Found {
    /// Whether the best way of what is asked is known, the usual one perhaps. What was tried without cooperative matrices is
    /// not known to a machine with them.
    #[must_use]
    pub fn knows(&self, asked: &str, machine: &Capabilities) -> bool {
        self.tried.get(asked).is_some_and(|with| machine.fragment.is_none() || *with == machine.fragment)
    }

    /// What won takes its place; where nothing beats the usual way any more, that is taken again. What could not be tried
    /// stays as it was, and so does what was found with cooperative matrices, if this machine has to go on without.
    pub fn keep(&mut self, tuned: &Tuned, machine: &Capabilities) {
        let known = self.choices.get(&tuned.asked).map(|tiles| tiles.engine);
        let stays = machine.fragment.is_none() && matches!(known, Some(Engine::Cooperative(..)));
        if tuned.usual.is_err() || stays {
            return;
        }
        match tuned.best() {
            Some((tiles, _)) => self.choices.set(tuned.asked.clone(), tiles),
            None => self.choices.unset(&tuned.asked),
        }
        self.tried.insert(tuned.asked.clone(), machine.fragment);
    }
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

    /// What was found; nothing where there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read, is no such table, or is of another machine.
    pub fn read(&self) -> Result<Found, StoreError> {
        let path = || self.path.display().to_string();
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
            read => read.map_err(|source| StoreError::Io { path: path(), source })?,
        };
        let table: Table = serde_json::from_str(&text)
            .map_err(|error| StoreError::Format { path: path(), reason: error.to_string() })?;
        if table.machine != self.machine {
            return Err(StoreError::Elsewhere { path: path(), there: table.machine, here: self.machine.clone() });
        }
        Ok(Found { choices: table.tiles, tried: table.tried })
    }

    /// Keeps this in place of what was kept.
    ///
    /// # Errors
    /// When the file system refuses; the file is then what it was.
    pub fn write(&self, found: &Found) -> Result<(), StoreError> {
        let Found { choices, tried } = found.clone();
        let table = Table { machine: self.machine.clone(), tiles: choices, tried };
        let text = serde_json::to_string_pretty(&table).map_err(io::Error::other);
        let made = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = made.and(text).and_then(|text| files::replace(&self.path, text.as_bytes()));
        written.map_err(|source| StoreError::Io { path: self.path.display().to_string(), source })
    }
}
