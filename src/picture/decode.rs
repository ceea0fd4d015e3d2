//! Picture files: PNG and JPEG, of bounded size, so that a hostile one costs a bounded amount of memory.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageReader, Limits};

use super::{Picture, PictureError};

/// The most pixels along a side.
pub(super) const MOST_LONG: u32 = 16_384;
/// The most bytes that decoding may take.
pub(super) const MOST_DECODED: u64 = 512 << 20;
/// The most bytes of a file.
pub(crate) const MOST_BYTES: u64 = 256 << 20;

impl Picture {
    /// Reads a PNG or JPEG file, as red, green and blue. Transparency is left out, and no note of a camera about how it was
    /// held is followed, as in torchvision.
    ///
    /// # Errors
    /// When the file cannot be read, is of another format, cut off, or too large.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        Self::decode(&path.display().to_string(), &bytes_of(path)?)
    }

    /// The same of the bytes of a file that errors call `file`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn decode(file: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        let refuse = |reason: String| PictureError::Format {
            file: file.to_owned(),
            reason,
            most: format!("{MOST_LONG} x {MOST_LONG}, {} MB decoded,", MOST_DECODED >> 20),
        };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refuse(format!("it has more than {} MB", MOST_BYTES >> 20)));
        }
        let mut limits = Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(MOST_LONG), Some(MOST_LONG));
        limits.max_alloc = Some(MOST_DECODED);
        let mut reader = ImageReader::new(BufReader::new(Cursor::new(bytes)))
            .with_guessed_format()
            .map_err(|error| refuse(error.to_string()))?;
        reader.limits(limits);
        let image: DynamicImage = reader.decode().map_err(|error| refuse(error.to_string()))?;
        let image = image.into_rgb8();
        let size = [image.height(), image.width()].map(|size| size as usize);
        Ok(Self { size, channels: 3, pixels: image.into_raw() })
    }
}

/// The bytes of a file; of one that is too large so many that it shows.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, PictureError> {
    let failed = |source: io::Error| PictureError::File { file: path.display().to_string(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
