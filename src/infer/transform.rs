//! How a picture becomes what a network reads: torchvision's transform for evaluation.

use crate::picture::{MOST_RESIZED, Picture, PictureError, resize};
use crate::train::batches::Normalization;
use crate::train::weights::Weights;

/// Means and deviations of ImageNet's red, green and blue, as all of torchvision's weights have them.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Resize, crop, normalize.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// To what the shorter side of a picture is brought; the longer keeps the proportion.
    pub resize: usize,
    /// Height and width of the middle, which the network sees.
    pub crop: [usize; 2],
    /// Channels that the network reads: 1 or 3.
    pub channels: usize,
    /// Mean of each channel's numbers from 0 to 1.
    pub mean: [f32; 3],
    /// Their standard deviations.
    pub std: [f32; 3],
}

impl Transform {
    /// ImageNet's: of 224 pixels the shorter side is brought to 256, and to as much in proportion for other sizes.
    #[must_use]
    pub fn imagenet(crop: [usize; 2], channels: usize) -> Self {
        let (mean, std) = IMAGENET;
        let alike = |of: [f32; 3]| [of.iter().sum::<f32>() / 3.0; 3];
        let (mean, std) = if channels == 1 { (alike(mean), alike(std)) } else { (mean, std) };
        let most = crop[0].max(crop[1]);
        Self { resize: (most * 8).div_ceil(7), crop, channels, mean, std }
    }

    /// That of a network which learned whole pictures of this height, width and channels: nothing is cut off but what a
    /// picture is longer.
    #[must_use]
    pub fn whole([height, width, channels]: [usize; 3], Normalization { mean, std }: Normalization) -> Self {
        Self { resize: height.max(width), crop: [height, width], channels, mean: [mean; 3], std: [std; 3] }
    }

    /// What weights were made with: what is noted beside them, or ImageNet's.
    #[must_use]
    pub fn of(weights: &Weights) -> Self {
        let [height, width, channels] = weights.image();
        match weights.about() {
            Some(about) => Self::whole(about.image, about.normalization),
            None => Self::imagenet([height, width], channels),
        }
    }

    /// Height, width and channels of what the network reads.
    #[must_use]
    pub fn image(&self) -> [usize; 3] {
        [self.crop[0], self.crop[1], self.channels]
    }

    /// What of a picture the network sees.
    ///
    /// # Errors
    /// When the picture is empty or far longer than wide, or less is left by the resize than is to be seen.
    pub fn view(&self, picture: &Picture) -> Result<Picture, PictureError> {
        let least = self.crop[0].max(self.crop[1]);
        Ok(self.resized(picture, least)?.middle(self.crop).in_channels(self.channels))
    }

    /// All of a picture, its shorter side brought to [`resize`](Self::resize): for networks that see any size, and segment.
    ///
    /// # Errors
    /// When the picture is empty or far longer than wide, or would become too large.
    pub fn whole_view(&self, picture: &Picture) -> Result<Picture, PictureError> {
        Ok(self.resized(picture, 1)?.in_channels(self.channels))
    }

    /// The same at the size at which a picture of this height and width lies whole within the crop: as [`masked`](crate::train::masked)
    /// pictures are tried on.
    #[must_use]
    pub fn fitting(self, size: [usize; 2]) -> Self {
        let factor = [0, 1].map(|axis| self.crop[axis] as f64 / size[axis].max(1) as f64);
        let shorter = size[0].min(size[1]) as f64 * factor[0].min(factor[1]);
        Self { resize: (shorter.round() as usize).max(1), ..self }
    }

    /// In three channels, before anything is cut off; its shorter side has `least` pixels or more.
    fn resized(&self, picture: &Picture, least: usize) -> Result<Picture, PictureError> {
        let &Self { resize: shorter, crop, channels, .. } = self;
        let size = picture.size;
        let refuse = |reason| PictureError::Transform { size, resize: shorter, crop, reason };
        let [height, width] = size;
        let (short, long) = (height.min(width), height.max(width));
        if short == 0 || picture.pixels.len() != height * width * picture.channels {
            return Err(refuse("it has no pixels, or not as many as it says"));
        }
        if crop.contains(&0) || least > shorter {
            return Err(refuse("what is seen must have pixels, and no more than the resize leaves (--resize, --size)"));
        }
        if ![1, 3].contains(&channels) {
            return Err(refuse("the network reads neither one channel nor three, and pictures have no others"));
        }
        // As torchvision computes it: a whole number, rounded down.
        let longer = (shorter as u128 * long as u128 / short as u128) as u64;
        if long > MOST_LONG.saturating_mul(short) {
            return Err(refuse("it is too long for its width: cut out a part"));
        }
        if longer.saturating_mul(shorter as u64) > MOST_RESIZED {
            return Err(refuse("it would have more than 2^27 pixels then: take a smaller --resize"));
        }
        let longer = longer as usize;
        let resized = if height <= width { [shorter, longer] } else { [longer, shorter] };
        Ok(resize(&picture.in_channels(3), resized))
    }

    /// A view as numbers `[H, W, C]`: `(byte / 255 - mean) / std`.
    #[must_use]
    pub fn numbers(&self, view: &Picture) -> Vec<f32> {
        let each = self.mean.iter().zip(&self.std).take(view.channels).cycle();
        let number = |(&byte, (mean, std)): (&u8, (&f32, &f32))| (f32::from(byte) / 255.0 - mean) / std;
        view.pixels.iter().zip(each).map(number).collect()
    }
}

/// How many times as long as wide a picture may be: the resized one lies in memory before its middle is cut out.
const MOST_LONG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_picture_lies_within_the_crop() {
        let transform = Transform::imagenet([40, 60], 3);
        for (size, within) in
            [([100, 150], [40, 60]), ([100, 300], [20, 60]), ([300, 100], [40, 13]), ([20, 30], [40, 60])]
        {
            let picture = Picture { size, channels: 3, pixels: vec![9; size[0] * size[1] * 3] };
            let view = transform.clone().fitting(size).whole_view(&picture).expect("it is small");
            let near = view.size.iter().zip(within).all(|(&found, wanted)| found.abs_diff(wanted) <= 1);
            assert!(near, "{size:?} is seen at {:?}", view.size);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        let transform = Transform::imagenet([8, 8], 3);
        let picture = |size: [usize; 2]| Picture { size, channels: 3, pixels: vec![9; size[0] * size[1] * 3] };
        assert_eq!(transform.view(&picture([3, 5])).map(|view| view.size).ok(), Some([8, 8]));
        for (transform, picture, words) in [
            (transform.clone(), picture([0, 5]), "no pixels"),
            (transform.clone(), Picture { pixels: vec![], ..picture([2, 2]) }, "not as many"),
            (transform.clone(), picture([1, 100]), "too long"),
            (Transform { resize: 7, ..transform.clone() }, picture([9, 9]), "--resize"),
            (Transform { resize: 1 << 20, ..transform.clone() }, picture([9, 9]), "2^27 pixels"),
            (Transform { resize: usize::MAX, ..transform.clone() }, picture([9, 200]), "2^27 pixels"),
            (Transform { channels: 4, ..transform.clone() }, picture([9, 9]), "neither one channel nor three"),
            (Transform { crop: [0, 4], ..transform }, picture([9, 9]), "must have pixels"),
        ] {
            let said = transform.view(&picture).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(words), "`{said}` does not say `{words}`");
        }
    }
}
