//! Event files for TensorBoard: records of bytes with check sums, each an `Event` message of protocol buffers.
//!
//! The one crate that writes them brings old releases of `image` and `protobuf`; of the format only three messages are needed here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};

/// What TensorFlow calls CRC32C.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A file under way.
pub(super) struct Events(File);

impl Events {
    /// Begins a file of events of the steps after `step`; what other files of the folder say of later ones is void.
    pub(super) fn begin(folder: &Path, step: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // TensorBoard reads the files of a folder in the order of their names.
        let now = since_1970();
        let name = format!("events.out.tfevents.{:010}.{:09}.vistok", now.as_secs(), now.subsec_nanos());
        let mut events = Self(File::create_new(folder.join(name))?);
        events.write(0, &bytes(3, b"brain.Event:2"))?;
        if step > 0 {
            // `SessionLog { status: START }`
            events.write(step + 1, &bytes(7, &whole(1, 1)))?;
        }
        Ok(events)
    }

    /// Adds numbers of a step.
    pub(super) fn scalars(&mut self, step: u64, numbers: &[(&str, f64)]) -> io::Result<()> {
        let value = |&(tag, number): &(&str, f64)| {
            // A simple value is an f32.
            bytes(1, &[bytes(1, tag.as_bytes()), fixed(2, &(number as f32).to_le_bytes())].concat())
        };
        let summary: Vec<u8> = numbers.iter().flat_map(value).collect();
        self.write(step, &bytes(5, &summary))
    }

    /// Puts what was written on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&mut self, step: u64, what: &[u8]) -> io::Result<()> {
        let time = since_1970().as_secs_f64().to_le_bytes();
        self.0.write_all(&record(&[&fixed(1, &time), &whole(2, step), what].concat()))
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Length, its check sum, the bytes, their check sum.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), event, &masked(event)].concat()
}

/// A check sum, changed so that it can be part of what has one itself.
fn masked(bytes: &[u8]) -> [u8; 4] {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A field of bytes with their length.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(content.len() as u64), content].concat()
}

/// A field that is a whole number.
fn whole(field: u8, number: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(number)].concat()
}

/// A field of four or eight bytes.
fn fixed(field: u8, content: &[u8]) -> Vec<u8> {
    let kind = if content.len() == 8 { 1 } else { 5 };
    [&[field << 3 | kind][..], content].concat()
}

/// Seven bits a byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
