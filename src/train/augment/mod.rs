//! Random changes of training pictures on the CPU: AutoAugment's policy for ImageNet, and random crops.
//!
//! Every change is bit for bit what Pillow 9.4 gives on x86-64 (`tests/augment.rs` compares), every draw follows from the generator alone.
//! What is drawn how often, and how strong it is, public code reads in two ways: see [`Reading`].

mod color;
mod crop;
mod geometry;
mod policy;

pub use crop::{Crop, random_crop};
pub use geometry::Filter;
pub use policy::{Drawn, Entry, POLICY, Reading};

use super::data::DataError;
use crate::picture::Picture;

/// A kind of change; what its number ([`Change::by`]) means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Rows move to the left, by so many pixels a row more than the row above.
    ShearX,
    /// Columns move upwards, by so many pixels a column more than the column to the left.
    ShearY,
    /// The picture moves to the left, by this share of its width.
    TranslateX,
    /// The picture moves upwards, by this share of its height.
    TranslateY,
    /// Counterclockwise around the middle, in degrees.
    Rotate,
    /// From gray (0) over the picture as it is (1) to more color; gray pictures stay as they are.
    Color,
    /// From its mean brightness everywhere (0) over the picture as it is (1) to more contrast.
    Contrast,
    /// From black (0) over the picture as it is (1) to more light.
    Brightness,
    /// From blurred (0) over the picture as it is (1) to sharper; pixels at the border stay as they are.
    Sharpness,
    /// So many of a number's 8 bits are kept, the highest.
    Posterize,
    /// Numbers from this one on are inverted.
    Solarize,
    /// A channel's darkest number becomes 0 and its brightest 255; there is no number.
    AutoContrast,
    /// Numbers of a channel become about equally frequent; there is no number.
    Equalize,
    /// Dark becomes bright; there is no number.
    Invert,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
    ];
}

/// One change of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The kind.
    pub operation: Operation,
    /// How much, as [`Operation`] says.
    pub by: f64,
    /// What pixels are made of by operations that move them, the first five; the others do not ask.
    pub filter: Filter,
}

impl Change {
    /// Changes a picture. What comes in from beyond its border is the gray 128.
    ///
    /// # Errors
    /// When it is empty, has other than 1 or 3 channels, or other than its shape's number of numbers.
    pub fn apply(self, picture: &mut Picture) -> Result<(), DataError> {
        check(picture)?;
        let Self { operation, by, filter } = self;
        let [height, width] = picture.size.map(|side| side as f64);
        match operation {
            Operation::ShearX => geometry::transform(picture, [[1.0, by, 0.0], [0.0, 1.0, 0.0]], filter),
            Operation::ShearY => geometry::transform(picture, [[1.0, 0.0, 0.0], [by, 1.0, 0.0]], filter),
            Operation::TranslateX => geometry::transform(picture, [[1.0, 0.0, by * width], [0.0, 1.0, 0.0]], filter),
            Operation::TranslateY => geometry::transform(picture, [[1.0, 0.0, 0.0], [0.0, 1.0, by * height]], filter),
            Operation::Rotate => geometry::transform(picture, geometry::rotation(by, [height, width]), filter),
            Operation::Color => color::saturate(picture, by as f32),
            Operation::Contrast => color::contrast(picture, by as f32),
            Operation::Brightness => color::brightness(picture, by as f32),
            Operation::Sharpness => color::sharpen(picture, by as f32),
            Operation::Posterize => color::posterize(picture, by as u32),
            Operation::Solarize => color::solarize(picture, by),
            Operation::AutoContrast => color::stretch(picture),
            Operation::Equalize => color::equalize(picture),
            Operation::Invert => color::solarize(picture, 0.0),
        }
        Ok(())
    }
}

fn check(picture: &Picture) -> Result<(), DataError> {
    let Picture { size: [height, width], channels, ref pixels } = *picture;
    let numbers = height.checked_mul(width).and_then(|count| count.checked_mul(channels));
    if !pixels.is_empty() && [1, 3].contains(&channels) && numbers == Some(pixels.len()) {
        return Ok(());
    }
    Err(DataError::Shape {
        what: "a picture to change at random".into(),
        found: format!("{height} x {width} x {channels}, {} numbers", pixels.len()),
        expected: "1 or 3 channels, and as many numbers as that is, not 0".into(),
    })
}
