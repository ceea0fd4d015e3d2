//! AutoAugment's policy for ImageNet (Cubuk and others, CVPR 2019), and how strong its levels are.

use super::{Change, Filter, Operation};
use crate::picture::Picture;
use crate::train::batches::SplitMix64;
use crate::train::data::DataError;

/// An operation, in how many of ten cases it is done, and its level, 0 to 9.
pub type Entry = (Operation, u8, u8);

/// The policy as it was published: for each picture one of 25 lines is drawn, and its two entries are done or not, one after the other.
pub const POLICY: [[Entry; 2]; 25] = {
    use Operation::{AutoContrast, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearX, Solarize};
    [
        [(Posterize, 4, 8), (Rotate, 6, 9)],
        [(Solarize, 6, 5), (AutoContrast, 6, 5)],
        [(Equalize, 8, 8), (Equalize, 6, 3)],
        [(Posterize, 6, 7), (Posterize, 6, 6)],
        [(Equalize, 4, 7), (Solarize, 2, 4)],
        [(Equalize, 4, 4), (Rotate, 8, 8)],
        [(Solarize, 6, 3), (Equalize, 6, 7)],
        [(Posterize, 8, 5), (Equalize, 10, 2)],
        [(Rotate, 2, 3), (Solarize, 6, 8)],
        [(Equalize, 6, 8), (Posterize, 4, 6)],
        [(Rotate, 8, 8), (Color, 4, 0)],
        [(Rotate, 4, 9), (Equalize, 6, 2)],
        [(Equalize, 0, 7), (Equalize, 8, 8)],
        [(Invert, 6, 4), (Equalize, 10, 8)],
        [(Color, 6, 4), (Contrast, 10, 8)],
        [(Rotate, 8, 8), (Color, 10, 2)],
        [(Color, 8, 8), (Solarize, 8, 7)],
        [(Sharpness, 4, 7), (Invert, 6, 8)],
        [(ShearX, 6, 5), (Equalize, 10, 9)],
        [(Color, 4, 0), (Equalize, 6, 3)],
        [(Equalize, 4, 7), (Solarize, 2, 4)],
        [(Solarize, 6, 5), (AutoContrast, 6, 5)],
        [(Invert, 6, 4), (Equalize, 10, 8)],
        [(Color, 6, 4), (Contrast, 10, 8)],
        [(Equalize, 8, 8), (Equalize, 6, 3)],
    ]
};

/// How a level becomes a number. The paper gives ranges but not which of their ends is level 0, and two public codes differ: both are
/// here, neither is known to be what the policy was found with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// github.com/DeepVoltaire/AutoAugment (`ops.py`): a higher level changes more. Color, Contrast, Brightness and Sharpness are 1 more or
    /// less their strength. Shears are bicubic; what is translated or rotated takes the nearest pixel. (Its older file rotates one way only.)
    DeepVoltaire,
    /// timm's policy `original`: Posterize and Solarize change less at a higher level, and Color, Contrast, Brightness and Sharpness go
    /// from 0.1 at level 0 to 1.9 at 10. What moves pixels is bilinear or bicubic at random. Left out: noise on levels (`mstd`), and fill
    /// in the mean color of the images, which timm's own training asks for; it is 128 here as where nothing is said there.
    Timm,
}

/// What the policy does with one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The line of [`POLICY`].
    pub line: usize,
    /// What of its two entries is done.
    pub changes: [Option<Change>; 2],
}

impl Reading {
    /// Both.
    pub const ALL: [Self; 2] = [Self::DeepVoltaire, Self::Timm];

    /// The number of an operation at a level of 0 to 9 (higher ones count as 9), before a sign is drawn; 0 where the operation has none.
    /// By `DeepVoltaire` that of Color, Contrast, Brightness and Sharpness is how far from 1 they go.
    #[must_use]
    pub fn magnitude(self, operation: Operation, level: u8) -> f64 {
        use Operation::{
            AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearX, ShearY,
            Solarize, TranslateX, TranslateY,
        };
        let level = f64::from(level.min(9));
        // Ten numbers as numpy spaces them: its last is the end to the bit.
        let spaced = |from: f64, to: f64| if level == 9.0 { to } else { level * ((to - from) / 9.0) + from };
        let share = level / 10.0;
        match (self, operation) {
            (_, AutoContrast | Equalize | Invert) => 0.0,
            (Self::DeepVoltaire, ShearX | ShearY) => spaced(0.0, 0.3),
            (Self::DeepVoltaire, TranslateX | TranslateY) => spaced(0.0, 150.0 / 331.0),
            (Self::DeepVoltaire, Rotate) => spaced(0.0, 30.0),
            (Self::DeepVoltaire, Color | Contrast | Brightness | Sharpness) => spaced(0.0, 0.9),
            (Self::DeepVoltaire, Posterize) => spaced(8.0, 4.0).round_ties_even(),
            (Self::DeepVoltaire, Solarize) => spaced(256.0, 0.0),
            (Self::Timm, ShearX | ShearY) => share * 0.3,
            (Self::Timm, TranslateX | TranslateY) => share * 0.45,
            (Self::Timm, Rotate) => share * 30.0,
            (Self::Timm, Color | Contrast | Brightness | Sharpness) => share * 1.8 + 0.1,
            (Self::Timm, Posterize) => (share * 4.0).trunc() + 4.0,
            (Self::Timm, Solarize) => (share * 256.0).trunc(),
        }
    }

    /// What is done with one picture, drawn in this order: the line; of each entry whether it is done, and if so the sign where it has
    /// one, and then the filter where that is random.
    #[must_use]
    pub fn draw(self, random: &mut SplitMix64) -> Drawn {
        let line = random.below(POLICY.len());
        let changes = POLICY[line].map(|(operation, tenths, level)| {
            (random.below(10) < usize::from(tenths)).then(|| self.change(operation, level, random))
        });
        Drawn { line, changes }
    }

    /// An operation at a level, with sign and filter as they are drawn.
    fn change(self, operation: Operation, level: u8, random: &mut SplitMix64) -> Change {
        use Operation::{Brightness, Color, Contrast, Rotate, Sharpness, ShearX, ShearY, TranslateX, TranslateY};
        let magnitude = self.magnitude(operation, level);
        let mut signed = || if random.below(2) == 1 { -magnitude } else { magnitude };
        let moves = matches!(operation, ShearX | ShearY | TranslateX | TranslateY | Rotate);
        let by = match operation {
            Color | Contrast | Brightness | Sharpness if self == Self::DeepVoltaire => 1.0 + signed(),
            _ if moves => signed(),
            _ => magnitude,
        };
        let filter = match (self, operation) {
            (Self::Timm, _) if moves => [Filter::Bilinear, Filter::Bicubic][random.below(2)],
            (Self::DeepVoltaire, ShearX | ShearY) => Filter::Bicubic,
            _ => Filter::Nearest,
        };
        Change { operation, by, filter }
    }

    /// Draws, and changes the picture so.
    ///
    /// # Errors
    /// As [`Change::apply`]; then the picture is as it was.
    pub fn apply(self, picture: &mut Picture, random: &mut SplitMix64) -> Result<(), DataError> {
        super::check(picture)?;
        self.draw(random).changes.into_iter().flatten().try_for_each(|change| change.apply(picture))
    }
}
