//! The head of a safetensors file, and single tensors behind it: never more of a file than there is, nor all at once.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::train::checkpoint::CheckpointError;

/// What precedes the head: its length.
const LENGTH: u64 = 8;
/// The longest head that is read. A tensor takes a hundred bytes of it, and the largest ResNet has a thousand.
const LONGEST: u64 = 16 << 20;

/// Bytes that can be read from any place.
pub(super) trait Bytes: Read + Seek + Send + Debug {}

impl<T: Read + Seek + Send + Debug> Bytes for T {}

/// A file whose head was read and agrees with its length.
#[derive(Debug)]
pub(in crate::train) struct Headed {
    /// What errors call it.
    pub(in crate::train) file: String,
    /// Its tensors by name.
    pub(in crate::train) tensors: BTreeMap<String, TensorInfo>,
    /// What is noted beside them.
    pub(in crate::train) noted: BTreeMap<String, String>,
    bytes: Mutex<Box<dyn Bytes>>,
    /// Where the first tensor begins.
    start: u64,
}

impl Headed {
    /// Reads the head of a file.
    pub(in crate::train) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = path.display().to_string();
        let opened = File::open(path).and_then(|opened| {
            let about = opened.metadata()?;
            // A device or a pipe has no length to compare the head with, and may have no end.
            match about.is_file() {
                true => Ok((opened, about.len())),
                false => Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file")),
            }
        });
        match opened {
            Ok((opened, length)) => Self::read(file, Box::new(opened), length),
            Err(source) => Err(CheckpointError::File { file, doing: "read", source }),
        }
    }

    /// The same of bytes that errors call `file`.
    pub(in crate::train) fn of_bytes(file: &str, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let length = bytes.len() as u64;
        Self::read(file.to_owned(), Box::new(Cursor::new(bytes)), length)
    }

    /// Reads the head of so many bytes.
    fn read(file: String, mut bytes: Box<dyn Bytes>, length: u64) -> Result<Self, CheckpointError> {
        let refuse = |reason: String| CheckpointError::Format { file: file.clone(), reason };
        let failed = |source: io::Error| CheckpointError::File { file: file.clone(), doing: "read", source };
        let mut first = [0; LENGTH as usize];
        if length < LENGTH {
            return Err(refuse(format!("it has {length} bytes, and the length of its head alone takes {LENGTH}")));
        }
        bytes.read_exact(&mut first).map_err(failed)?;
        // torch.save writes ZIP archives, and wrote bare pickles before.
        if first.starts_with(b"PK\x03\x04") || first.starts_with(&[0x80, 2]) {
            let save = "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)";
            return Err(refuse(format!("it is one of torch.save, and in Python {save} makes one of it")));
        }
        let claimed = u64::from_le_bytes(first);
        let most = LONGEST.min(length - LENGTH);
        if claimed > most {
            let told = format!("it claims a head of {claimed} bytes, of {} that follow", length - LENGTH);
            return Err(refuse(format!("{told}; at most {LONGEST} are read")));
        }
        let mut head = vec![0; usize::try_from(claimed).unwrap_or(usize::MAX)];
        bytes.read_exact(&mut head).map_err(failed)?;
        let head: Metadata = serde_json::from_slice(&head).map_err(|error| refuse(error.to_string()))?;
        let start = LENGTH + claimed;
        if Some(length) != start.checked_add(head.data_len() as u64) {
            let told = format!("its head tells of {} bytes of numbers", head.data_len());
            return Err(refuse(format!("{told}, and {} follow it", length - start)));
        }
        let tensors = head.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let noted = head.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { file, tensors, noted, bytes: Mutex::new(bytes), start })
    }

    /// The bytes of a tensor.
    pub(in crate::train) fn bytes(&self, info: &TensorInfo) -> Result<Vec<u8>, CheckpointError> {
        let (from, to) = info.data_offsets;
        self.bytes_at(from..to).map_err(|source| self.unread(source))
    }

    /// Those of a part of the numbers: of a tensor's offsets, which follow upon each other and end where the file does, so that these
    /// are never more than there are.
    pub(in crate::train) fn bytes_at(&self, part: Range<usize>) -> io::Result<Vec<u8>> {
        let mut read = vec![0; part.len()];
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.seek(SeekFrom::Start(self.start + part.start as u64))?;
        bytes.read_exact(&mut read)?;
        Ok(read)
    }

    /// The error of a file that cannot be read.
    pub(in crate::train) fn unread(&self, source: io::Error) -> CheckpointError {
        CheckpointError::File { file: self.file.clone(), doing: "read", source }
    }
}
