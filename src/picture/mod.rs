//! Pictures of 8 bits a channel: PNG and JPEG files, other sizes, and masks that say the class of every pixel.
//!
//! **Absent here**: networks, and the numbers that they read.

#[cfg(feature = "images")]
mod decode;
#[cfg(feature = "images")]
mod mask;
mod resize;

#[cfg(all(feature = "images", feature = "data"))]
pub(crate) use decode::MOST_BYTES;
#[cfg(feature = "images")]
pub use mask::Mask;

pub(crate) use resize::{MOST_RESIZED, resize};

use std::io;

/// A picture of 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height and width.
    pub size: [usize; 2],
    /// 3 (red, green, blue) or 1 (gray).
    pub channels: usize,
    /// Row by row, the channels of a pixel side by side.
    pub pixels: Vec<u8>,
}

/// Why a file gave no picture, or a picture no numbers.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file system refused.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// The system's words.
        source: io::Error,
    },
    /// Of another format, cut off, or too large.
    #[error("{file} is no picture that can be read ({reason}); PNG and JPEG of at most {most} pixels can")]
    Format {
        /// The file.
        file: String,
        /// What the decoder saw.
        reason: String,
        /// The most pixels along each side, and in all.
        most: String,
    },
    /// No mask of classes.
    #[error(
        "{file} is no mask of classes ({reason}): a mask is a gray or indexed PNG of at most 8 bits, whose numbers are classes"
    )]
    Mask {
        /// The file.
        file: String,
        /// What the decoder saw.
        reason: String,
    },
    /// It cannot be seen so.
    #[error(
        "a picture of {size:?} pixels cannot be seen at {crop:?} behind a resize of its shorter side to {resize}: {reason}"
    )]
    Transform {
        /// Height and width.
        size: [usize; 2],
        /// To what the shorter side is brought.
        resize: usize,
        /// Height and width of what is seen.
        crop: [usize; 2],
        /// Why.
        reason: &'static str,
    },
}

impl Picture {
    /// The same in as many channels, 1 or 3. Gray is 0.299 red + 0.587 green + 0.114 blue in Pillow's whole numbers.
    #[must_use]
    pub fn in_channels(&self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (3, 1) => {
                let gray = |&[red, green, blue]: &[u8; 3]| {
                    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
                    ((sum + 0x8000) >> 16) as u8
                };
                self.pixels.as_chunks().0.iter().map(gray).collect()
            }
            (1, 3) => self.pixels.iter().flat_map(|&gray| [gray; 3]).collect(),
            _ => return self.clone(),
        };
        Self { size: self.size, channels, pixels }
    }

    /// The middle, cut out. Where it is no whole number of pixels from the border, the even one, as Python rounds.
    pub(crate) fn middle(&self, [height, width]: [usize; 2]) -> Self {
        let from = |size: usize, cut: usize| {
            let twice = size.saturating_sub(cut);
            // Half of it, ties to even: 1.5 and 2.5 are both 2.
            twice / 2 + usize::from(twice % 4 == 3)
        };
        self.part([from(self.size[0], height), from(self.size[1], width)], [height, width])
    }

    /// The same with left and right exchanged.
    #[cfg(feature = "images")]
    pub(crate) fn mirrored(mut self) -> Self {
        for row in self.pixels.chunks_exact_mut((self.size[1] * self.channels).max(1)) {
            row.reverse();
            row.chunks_exact_mut(self.channels).for_each(<[u8]>::reverse);
        }
        self
    }

    /// The part of this height and width whose first row and column are these, which it has.
    pub(crate) fn part(&self, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Self {
        let row = |row: usize| {
            let at = ((top + row) * self.size[1] + left) * self.channels;
            &self.pixels[at..at + width * self.channels]
        };
        let pixels = (0..height).flat_map(row).copied().collect();
        Self { size: [height, width], channels: self.channels, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::Picture;

    #[test]
    fn gray_and_back_is_gray() {
        let gray = Picture { size: [1, 3], channels: 1, pixels: vec![0, 127, 255] };
        assert_eq!(gray.in_channels(3).in_channels(1), gray);
        assert_eq!(gray.in_channels(3).pixels[3..6], [127; 3]);
    }

    #[cfg(feature = "images")]
    #[test]
    fn mirrored_pixels_keep_their_channels() {
        let two = Picture { size: [2, 2], channels: 3, pixels: (0..12).collect() };
        assert_eq!(two.clone().mirrored().pixels, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
        assert_eq!(two.clone().mirrored().mirrored(), two);
    }

    #[test]
    fn the_middle_is_where_python_rounds_to() {
        let line = Picture { size: [1, 9], channels: 1, pixels: (0..9).collect() };
        for (width, first) in [(9, 0), (8, 0), (7, 1), (6, 2), (5, 2), (4, 2), (3, 3), (2, 4), (1, 4)] {
            assert_eq!(line.middle([1, width]).pixels[0], first, "{width}");
        }
    }
}
