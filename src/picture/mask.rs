//! Masks of classes in PNG files: the number of a pixel's class is its gray value, or its place in the palette.

use std::io::{BufReader, Cursor};
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::PictureError;
use super::decode::{MOST_DECODED, MOST_LONG, bytes_of};

/// The class of every pixel of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Height and width.
    pub size: [usize; 2],
    /// Row by row.
    pub classes: Vec<u8>,
}

impl Mask {
    /// Reads a gray or indexed PNG file of 1 to 8 bits; the colors of a palette are of no account.
    ///
    /// # Errors
    /// When the file cannot be read, is no such PNG, cut off, or too large.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        Self::decode(&path.display().to_string(), &bytes_of(path)?)
    }

    /// The same of the bytes of a file that errors call `file`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn decode(file: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        let refuse = |reason: String| PictureError::Mask { file: file.to_owned(), reason };
        let reader = BufReader::new(Cursor::new(bytes));
        let mut decoder = Decoder::new_with_limits(reader, Limits { bytes: MOST_DECODED as usize });
        decoder.set_transformations(Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(|error| refuse(error.to_string()))?;
        let info = reader.info();
        let bits = match (info.color_type, info.bit_depth) {
            (ColorType::Grayscale | ColorType::Indexed, depth) if depth != BitDepth::Sixteen => depth as usize,
            (kind, depth) => return Err(refuse(format!("it is {kind:?} of {} bits a channel", depth as u8))),
        };
        if info.width.max(info.height) > MOST_LONG {
            return Err(refuse(format!("it is {} x {} pixels, and {MOST_LONG} are the most", info.width, info.height)));
        }
        let [height, width] = [info.height, info.width].map(|size| size as usize);
        let mut rows = vec![0; reader.output_buffer_size().unwrap_or(0)];
        let line = reader.next_frame(&mut rows).map_err(|error| refuse(error.to_string()))?.line_size;
        let unpacked = |row: &[u8], column: usize| {
            let (byte, first) = (column * bits / 8, column * bits % 8);
            (row[byte] >> (8 - bits - first)) & (0xff >> (8 - bits))
        };
        let row = |row: &[u8]| (0..width).map(|column| unpacked(row, column)).collect::<Vec<u8>>();
        Ok(Self { size: [height, width], classes: rows.chunks_exact(line.max(1)).take(height).flat_map(row).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG file of these bytes.
    fn written(size: [u32; 2], color: ColorType, depth: BitDepth, bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut encoder = png::Encoder::new(file.reopen().expect("the file"), size[1], size[0]);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette((0..=255).flat_map(|at: u8| [255 - at, 7, at / 2]).collect::<Vec<u8>>());
        }
        encoder.write_header().and_then(|mut writer| writer.write_image_data(bytes)).expect("a PNG");
        file
    }

    #[test]
    fn a_palette_s_place_or_a_gray_value_is_the_class() {
        for color in [ColorType::Grayscale, ColorType::Indexed] {
            let file = written([2, 3], color, BitDepth::Eight, &[0, 1, 255, 20, 3, 54]);
            let mask = Mask::open(file.path()).expect("a mask");
            assert_eq!(mask, Mask { size: [2, 3], classes: vec![0, 1, 255, 20, 3, 54] }, "{color:?}");
            let file = written([2, 3], color, BitDepth::Four, &[0x1f, 0x20, 0x34, 0x50]);
            assert_eq!(Mask::open(file.path()).expect("a mask").classes, [1, 15, 2, 3, 4, 5], "{color:?}");
            let file = written([1, 9], color, BitDepth::One, &[0b1011_0001, 0b1000_0000]);
            assert_eq!(Mask::open(file.path()).expect("a mask").classes, [1, 0, 1, 1, 0, 0, 0, 1, 1], "{color:?}");
        }
    }

    #[test]
    fn what_is_no_mask_is_refused_by_name() {
        let color = written([1, 1], ColorType::Rgb, BitDepth::Eight, &[1, 2, 3]);
        let deep = written([1, 1], ColorType::Grayscale, BitDepth::Sixteen, &[1, 2]);
        let cut = written(
            [64, 64],
            ColorType::Grayscale,
            BitDepth::Eight,
            &(0..64 * 64).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>(),
        );
        let bytes = std::fs::read(cut.path()).expect("bytes");
        std::fs::write(cut.path(), &bytes[..bytes.len() / 2]).expect("half of it");
        for (file, words) in [(&color, "Rgb of 8 bits"), (&deep, "of 16 bits"), (&cut, "mask")] {
            let said = Mask::open(file.path()).expect_err("no mask").to_string();
            assert!(said.contains(words) && said.contains(&file.path().display().to_string()), "{said}");
        }
        assert!(Mask::open(Path::new("/nowhere/mask.png")).is_err());
    }
}
