//! The IDX file format (MNIST's): a strict reader that trusts nothing a header claims.

use std::io::{self, Read};

use crate::picture::PictureError;

/// Why data could not be used: names the file, what was found, what was expected, and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A `--data` argument that names no known kind of data.
    #[error(
        "data `{found}` is not known: expected `embedded`, `scenes`, or with the folder of the files `fashion-mnist:DIR`, `cifar:DIR`, \
         `folder:DIR` (pictures) or `shards:DIR` (tar files of pictures)"
    )]
    Source {
        /// The argument as given.
        found: String,
    },
    /// Neither the gzipped nor the plain file is there.
    #[error(
        "{dir} has neither {name}.gz nor {name}: name the folder of the four IDX files of Fashion-MNIST \
             (Debian: apt-get install dataset-fashion-mnist, then /usr/share/datasets/fashion-mnist)"
    )]
    Missing {
        /// The folder that was searched.
        dir: String,
        /// The file's name without `.gz`.
        name: String,
    },
    /// A folder of files, or one of them, is not as it should be.
    #[error("{path}: {problem} ({layout})")]
    Folder {
        /// The file or folder.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// How such a folder looks.
        layout: &'static str,
    },
    /// Images that cannot be read are skipped, and there are no others.
    #[error("none of the {count} images can be read: {last}")]
    NoneReadable {
        /// How many there are.
        count: usize,
        /// What is wrong with the one that was tried last.
        last: String,
    },
    /// A picture or a mask cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The operating system or the decompressor refused; `source` says why.
    #[error("cannot read {file}: {source}; check its permissions, or fetch it again if it is damaged")]
    Read {
        /// The file.
        file: String,
        /// The reason.
        source: io::Error,
    },
    /// The crate was built without the feature that the request needs.
    #[error("{what} needs the feature `{feature}`: build with --features {feature}")]
    Feature {
        /// What was asked for.
        what: String,
        /// The feature.
        feature: &'static str,
    },
    /// The file does not open with the magic number of its kind.
    #[error("{file} opens with {found:#010x}, not {expected:#010x}: it is not an IDX file of {what}")]
    Magic {
        /// The file.
        file: String,
        /// The first four bytes, big-endian.
        found: u32,
        /// The magic number of the kind.
        expected: u32,
        /// The kind, `images` or `labels`.
        what: &'static str,
    },
    /// A size in the header is zero or beyond what this reader accepts.
    #[error(
        "{file}: its header says {found} {axis}, expected 1 to {most}: it is damaged or not meant for this program"
    )]
    Extent {
        /// The file.
        file: String,
        /// What the size counts.
        axis: &'static str,
        /// The size in the header.
        found: u64,
        /// The largest that is accepted.
        most: u64,
    },
    /// The file ends too early.
    #[error("{file} is truncated: {found} bytes after decompression, its header promises {expected}; fetch it again")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that were there.
        found: u64,
        /// Bytes that header and payload take.
        expected: u64,
    },
    /// The file goes on after its payload.
    #[error("{file} has bytes after the {expected} that its header promises: it is damaged; fetch it again")]
    Trailing {
        /// The file.
        file: String,
        /// Bytes that header and payload take.
        expected: u64,
    },
    /// A label that names no class.
    #[error("{file}: label {at} is {found}, expected 0 to {most}: it belongs to another data set")]
    Label {
        /// The file.
        file: String,
        /// Which label, from 0.
        at: usize,
        /// Its value.
        found: u32,
        /// The last class.
        most: usize,
    },
    /// Images and labels are not of one set.
    #[error("{file} has {labels} labels for {images} images: the two files do not belong together")]
    Counts {
        /// The file of the labels.
        file: String,
        /// Images in the other file.
        images: usize,
        /// Labels in this one.
        labels: usize,
    },
    /// Training and test images differ in shape, or an [`Images`](super::data::Images) contradicts itself.
    #[error("{what}: found {found}, expected {expected}")]
    Shape {
        /// Whose shape.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A batch size that the images cannot fill.
    #[error("a batch of {size} cannot be filled from {images} images: choose 1 to {images}")]
    BatchSize {
        /// Images asked for in a batch.
        size: usize,
        /// Images that there are.
        images: usize,
    },
    /// A batch beyond the epoch's last.
    #[error("there is no batch {at}: an epoch has {count}, counted from 0")]
    NoSuchBatch {
        /// The batch asked for.
        at: usize,
        /// Batches in an epoch.
        count: usize,
    },
}

impl DataError {
    /// Whether the bytes of one image, or of its mask, are no such thing: what may be skipped, where [`Samples::sample`] says it. What
    /// the file system refuses is no reason to skip: the next try may find it.
    ///
    /// [`Samples::sample`]: super::Samples::sample
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Picture(error) => matches!(error, PictureError::Format { .. } | PictureError::Mask { .. }),
            Self::Folder { .. } | Self::Label { .. } => true,
            _ => false,
        }
    }
}

/// The images of one IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesFile {
    /// Number of images.
    pub count: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// `[count, height, width]`, one byte each.
    pub pixels: Vec<u8>,
}

/// An axis of a header: its name in messages and the largest size that is accepted.
type Axis = (&'static str, u32);

const IMAGES_MAGIC: u32 = 0x0000_0803; // unsigned bytes, three axes
const LABELS_MAGIC: u32 = 0x0000_0801; // unsigned bytes, one axis
/// Fashion-MNIST has 60,000; a header with more than a million is damaged.
const MOST_IMAGES: Axis = ("images", 1_000_000);
/// 1 GiB: what a payload may take, however its sizes multiply; a decompression bomb ends here at the latest.
const MOST_BYTES: u64 = 1 << 30;

/// Reads a file of images; `file` names it in errors.
pub fn read_images(reader: impl Read, file: &str) -> Result<ImagesFile, DataError> {
    let axes = [MOST_IMAGES, ("rows", 4096), ("columns", 4096)];
    let (sizes, pixels) = read(reader, file, (IMAGES_MAGIC, "images"), axes)?;
    let [count, height, width] = sizes;
    Ok(ImagesFile { count, height, width, pixels })
}

/// Reads a file of labels, each below `classes`; `file` names it in errors.
pub fn read_labels(reader: impl Read, file: &str, classes: usize) -> Result<Vec<u8>, DataError> {
    let ([_], labels) = read(reader, file, (LABELS_MAGIC, "labels"), [("labels", MOST_IMAGES.1)])?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels),
        Some(at) => {
            Err(DataError::Label { file: file.into(), at, found: labels[at].into(), most: classes.saturating_sub(1) })
        }
    }
}

/// Header and payload of an IDX file of unsigned bytes. Memory grows with the bytes that arrive, never with what the
/// header claims, and reading stops one byte after the promised end.
fn read<const AXES: usize>(
    mut reader: impl Read,
    file: &str,
    (magic, what): (u32, &'static str),
    axes: [Axis; AXES],
) -> Result<([usize; AXES], Vec<u8>), DataError> {
    let unreadable = |source| DataError::Read { file: file.into(), source };
    let header_bytes = 4 * (AXES as u64 + 1);
    let mut header = Vec::new();
    reader.by_ref().take(header_bytes).read_to_end(&mut header).map_err(unreadable)?;
    // A wrong magic number says more than "truncated", so it is looked at first.
    let mut words = header.chunks_exact(4).map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)));
    let truncated = |found: usize, expected| DataError::Truncated { file: file.into(), found: found as u64, expected };
    let found = words.next().ok_or_else(|| truncated(header.len(), header_bytes))?;
    if found != magic {
        return Err(DataError::Magic { file: file.into(), found, expected: magic, what });
    }
    let mut sizes = [0; AXES];
    let mut payload_bytes = 1u64;
    for (size, (axis, most)) in sizes.iter_mut().zip(axes) {
        let found = words.next().ok_or_else(|| truncated(header.len(), header_bytes))?;
        if found == 0 || found > most {
            return Err(DataError::Extent { file: file.into(), axis, found: found.into(), most: most.into() });
        }
        *size = found as usize;
        // At most 10^6 x 2^12 x 2^12 < 2^44, so this cannot overflow.
        payload_bytes *= u64::from(found);
    }
    if payload_bytes > MOST_BYTES {
        return Err(DataError::Extent { file: file.into(), axis: "bytes", found: payload_bytes, most: MOST_BYTES });
    }
    let expected = header_bytes + payload_bytes;
    let mut payload = Vec::new();
    reader.take(payload_bytes + 1).read_to_end(&mut payload).map_err(unreadable)?;
    match (payload.len() as u64).cmp(&payload_bytes) {
        std::cmp::Ordering::Less => Err(truncated(header.len() + payload.len(), expected)),
        std::cmp::Ordering::Greater => Err(DataError::Trailing { file: file.into(), expected }),
        std::cmp::Ordering::Equal => Ok((sizes, payload)),
    }
}
