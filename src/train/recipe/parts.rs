//! What recipes are made of.

use serde::{Deserialize, Serialize};

/// Which recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What the demos are trained with.
    Demo,
    /// The paper's for its comparisons: SGD for 90 epochs (ICCV, section 5.1).
    Default,
    /// The paper's for its best numbers: RMSProp for 400 epochs (ICCV, section 5.2).
    Advanced,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Demo, Self::Default, Self::Advanced];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Default => "default",
            Self::Advanced => "advanced",
        }
    }
}

/// A part of a recipe that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// RMSProp; without it SGD with momentum 0.9 takes its place.
    RmsProp,
    /// The moving average of the weights.
    Ema,
    /// Dropout before the last layer.
    Dropout,
    /// Stochastic depth.
    Depth,
    /// Learning from a teacher.
    Distillation,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::RmsProp, Self::Ema, Self::Dropout, Self::Depth, Self::Distillation];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RmsProp => "rmsprop",
            Self::Ema => "ema",
            Self::Dropout => "dropout",
            Self::Depth => "depth",
            Self::Distillation => "distillation",
        }
    }
}

/// What happens to training images beside moving them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Nothing.
    None,
    /// Half of them are mirrored.
    Flip,
    /// And then AutoAugment's policy, [`Reading::DeepVoltaire`](crate::train::augment::Reading::DeepVoltaire).
    Autoaugment,
    /// And then AutoAugment's policy, [`Reading::Timm`](crate::train::augment::Reading::Timm).
    AutoaugmentTimm,
}

impl Augment {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Flip, Self::Autoaugment, Self::AutoaugmentTimm];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Flip => "flip",
            Self::Autoaugment => "autoaugment",
            Self::AutoaugmentTimm => "autoaugment-timm",
        }
    }
}
