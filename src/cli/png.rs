//! Pictures as files.

use std::io::Cursor;

use super::Error;

/// A picture of this height and width, red, green and blue of a pixel side by side, as a PNG file.
pub(super) fn png([height, width]: [usize; 2], bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let refuse = |reason: String| Error::Picture(format!("the picture was not encoded: {reason}"));
    let image = image::RgbImage::from_raw(size(width), size(height), bytes)
        .ok_or_else(|| refuse(format!("{width} x {height} pixels")))?;
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).map_err(|error| refuse(error.to_string()))?;
    Ok(file.into_inner())
}
