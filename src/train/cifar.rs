//! CIFAR-10 and CIFAR-100 as their authors' binary files: small colored pictures, channel behind channel, each behind its label.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::data::{DataError, Dataset, Images, Target};

/// Height, and width.
const SIDE: usize = 32;
/// Red, green and blue.
const CHANNELS: usize = 3;
/// How a folder of one of the two looks.
const LAYOUT: &str =
    "CIFAR-10 has data_batch_1.bin to data_batch_5.bin and test_batch.bin, CIFAR-100 train.bin and test.bin";

/// One of the two.
struct Kind {
    name: &'static str,
    /// Files to train on, and how many images each has.
    train: (&'static [&'static str], usize),
    test: (&'static [&'static str], usize),
    /// Labels in front of an image; the last is that of its class.
    labels: usize,
    classes: usize,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "CIFAR-10",
        train: (
            &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
            10_000,
        ),
        test: (&["test_batch.bin"], 10_000),
        labels: 1,
        classes: 10,
    },
    Kind {
        name: "CIFAR-100",
        train: (&["train.bin"], 50_000),
        test: (&["test.bin"], 10_000),
        // That of one of twenty groups of classes, and that of the class.
        labels: 2,
        classes: 100,
    },
];

impl Dataset {
    /// The binary files of CIFAR-10 or CIFAR-100 in `dir`.
    ///
    /// # Errors
    /// When a file is missing, has other than its number of bytes, or a label is of no class; the error names the file.
    pub fn cifar(dir: &Path) -> Result<Self, DataError> {
        let Some(kind) = KINDS.iter().find(|kind| dir.join(kind.train.0[0]).exists()) else {
            let problem = "there is neither data_batch_1.bin nor train.bin".to_owned();
            return Err(DataError::Folder { path: dir.display().to_string(), problem, layout: LAYOUT });
        };
        let part = |(files, count): (&[&str], usize)| -> Result<Images, DataError> {
            let mut images = kind.empty();
            for name in files {
                let path = dir.join(name);
                let file = path.display().to_string();
                let reader = File::open(&path).map_err(|source| DataError::Read { file: file.clone(), source })?;
                kind.read(reader, (&file, count), &mut images)?;
            }
            Ok(images)
        };
        Self::of(part(kind.train)?, part(kind.test)?, format!("{} in {}", kind.name, dir.display()))
    }
}

impl Kind {
    fn empty(&self) -> Images {
        Images {
            height: SIDE,
            width: SIDE,
            channels: CHANNELS,
            pixels: Vec::new(),
            labels: Vec::new(),
            target: Target::Images,
            classes: self.classes,
        }
    }

    /// Adds the `count` images of a file. One with another number of bytes is refused: it is cut off, or none of these.
    fn read(&self, reader: impl Read, (file, count): (&str, usize), images: &mut Images) -> Result<(), DataError> {
        let pixels = SIDE * SIDE;
        let record = self.labels + pixels * CHANNELS;
        let expected = record * count;
        let mut bytes = Vec::new();
        let read = reader.take(expected as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|source| DataError::Read { file: file.to_owned(), source })?;
        if bytes.len() != expected {
            let found = if bytes.len() < expected { format!("{} bytes", bytes.len()) } else { "more bytes".to_owned() };
            let expected = format!("{expected}, {count} images of {record} in {}: fetch it again", self.name);
            return Err(DataError::Shape { what: file.to_owned(), found, expected });
        }
        for (at, record) in bytes.chunks_exact(record).enumerate() {
            let (labels, planes) = record.split_at(self.labels);
            let label = labels[self.labels - 1];
            if usize::from(label) >= self.classes {
                let (file, found, most) = (file.to_owned(), label.into(), self.classes - 1);
                return Err(DataError::Label { file, at, found, most });
            }
            images.labels.push(label);
            images.pixels.extend((0..pixels * CHANNELS).map(|at| planes[at % CHANNELS * pixels + at / CHANNELS]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `at` of a file: its labels, then red, green and blue, of each the rows.
    fn record(kind: &Kind, at: u8) -> Vec<u8> {
        let labels = [vec![77; kind.labels - 1], vec![at]].concat();
        let plane = |channel: u8| (0..1024u32).map(move |place| (place % 251) as u8 ^ channel ^ at);
        labels.into_iter().chain((0..3).flat_map(plane)).collect()
    }

    #[test]
    fn planes_become_pixels_and_the_last_label_is_the_class() {
        for kind in &KINDS {
            let mut images = kind.empty();
            let bytes: Vec<u8> = (3..6).flat_map(|at| record(kind, at)).collect();
            kind.read(&bytes[..], ("f", 3), &mut images).expect("whole");
            images.check().expect("it agrees with itself");
            assert_eq!((&images.labels[..], images.count()), (&[3, 4, 5][..], 3));
            for (at, pixel) in images.pixels.chunks(3).enumerate() {
                let place = (at % 1024 % 251) as u8 ^ (3 + (at / 1024) as u8);
                assert_eq!(pixel, [place, place ^ 1, place ^ 2], "pixel {at}");
            }
        }
    }

    #[test]
    fn other_sizes_and_other_labels_are_refused_by_name() {
        for kind in &KINDS {
            let whole: Vec<u8> = (3..6).flat_map(|at| record(kind, at)).collect();
            let said = |bytes: &[u8]| {
                kind.read(bytes, ("some.bin", 3), &mut kind.empty()).err().map(|error| error.to_string())
            };
            assert_eq!(said(&whole), None);
            let each = whole.len() / 3;
            let mut other = whole.clone();
            other[each + kind.labels - 1] = kind.classes as u8;
            for (bytes, words) in [
                (&whole[..whole.len() - 1], "bytes, expected"),
                // Cut off between two images.
                (&whole[..2 * each], "bytes, expected"),
                (&[], "found 0 bytes"),
                (&[&whole[..], &[0]].concat()[..], "found more bytes"),
                (&other[..], "label 1 is"),
            ] {
                let said = said(bytes).expect("it was believed");
                assert!(said.starts_with("some.bin: ") && said.contains(words), "`{said}` does not say `{words}`");
            }
        }
    }
}
