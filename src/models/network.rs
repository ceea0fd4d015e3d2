//! Any network of ours as one value: by its name, or by every option in words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fpn::{Fpn, Pyramid};
use super::resnet::{Stem, Trunk};
use super::vt::{First, Position, Vt};
use super::{Model, ResNet, Variant, VtResNet};

/// A network with all its options. Its text is one line of JSON, which [`str::parse`] reads again; a checkpoint notes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "family")]
pub enum Network {
    /// A residual network.
    #[serde(rename = "resnet")]
    ResNet(ResNet),
    /// One whose last stage is visual transformers.
    #[serde(rename = "vt-resnet")]
    VtResNet(Box<VtResNet>),
    /// One that segments, with a pyramid of convolutions or of visual tokens.
    #[serde(rename = "fpn")]
    Fpn(Box<Fpn>),
}

/// Why words are no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No preset has this name.
    #[error("no model is called `{name}`; there are: {known}")]
    Name {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The words do not describe options.
    #[error("is no description of a model: {0}")]
    Words(String),
    /// A size that no machine would live to see.
    #[error("{what} of {size} is more than the {most} that a description may ask for")]
    Size {
        /// Which.
        what: &'static str,
        /// As described.
        size: usize,
        /// What may be.
        most: usize,
    },
}

/// The most channels, tokens, strides and classes that words may ask for.
const WIDEST: usize = 1 << 16;
/// The most blocks and rounds, and the largest kernel.
const LONGEST: usize = 1 << 8;
/// The most stages and halvings.
const DEEPEST: usize = 1 << 4;

impl Network {
    /// Every network that has a name, made for this many classes.
    #[must_use]
    pub fn presets(classes: usize) -> Vec<Self> {
        let resnets = ResNet::presets(classes).into_iter().map(Self::ResNet);
        let of_images = resnets.chain(VtResNet::presets(classes).into_iter().map(Self::from));
        of_images.chain(Fpn::presets(classes).into_iter().map(Self::from)).collect()
    }

    /// The network of this name, made for this many classes.
    ///
    /// # Errors
    /// When no preset has the name; the error lists those that there are.
    pub fn named(name: &str, classes: usize) -> Result<Self, NetworkError> {
        let mut presets = Self::presets(classes);
        match presets.iter().position(|preset| preset.model().name() == name) {
            Some(at) => Ok(presets.swap_remove(at)),
            None => {
                let known: Vec<&str> = presets.iter().map(|preset| preset.model().name()).collect();
                Err(NetworkError::Name { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }

    /// It as a model.
    #[must_use]
    pub fn model(&self) -> &dyn Model {
        match self {
            Self::ResNet(network) => network,
            Self::VtResNet(network) => &**network,
            Self::Fpn(network) => &**network,
        }
    }

    /// It as a model of its own.
    #[must_use]
    pub fn into_model(self) -> Box<dyn Model> {
        match self {
            Self::ResNet(network) => Box::new(network),
            Self::VtResNet(network) => network,
            Self::Fpn(network) => network,
        }
    }

    /// Refuses sizes with which building the graph alone would take forever: words may come from a file.
    fn check(&self) -> Result<(), NetworkError> {
        let mut sizes = vec![("a number of classes", self.model().classes(), WIDEST)];
        match self {
            Self::ResNet(network) => sizes.extend(trunk_sizes(&network.trunk)),
            Self::VtResNet(network) => {
                sizes.extend(trunk_sizes(&network.trunk));
                sizes.push(("a number of VT blocks", network.blocks, LONGEST));
                sizes.extend(vt_sizes(&network.vt));
            }
            Self::Fpn(network) => {
                sizes.extend(trunk_sizes(&network.trunk));
                sizes.extend([
                    ("a number of level channels", network.channels, WIDEST),
                    ("a number of head channels", network.head.channels, WIDEST),
                ]);
                if let Pyramid::Tokens(pyramid) = &network.pyramid {
                    sizes.push(("a number of transformers", pyramid.layers, LONGEST));
                    sizes.extend(pyramid.tokens.iter().map(|&tokens| ("a number of tokens", tokens, WIDEST)));
                    sizes.extend(vt_sizes(&pyramid.vt));
                }
            }
        }
        match sizes.into_iter().find(|(_, size, most)| size > most) {
            Some((what, size, most)) => Err(NetworkError::Size { what, size, most }),
            None => Ok(()),
        }
    }
}

/// What is asked of visual transformers: what, how much, and how much may be.
fn vt_sizes(vt: &Vt) -> Vec<(&'static str, usize, usize)> {
    let mut sizes = vec![
        ("a number of tokens", vt.tokens, WIDEST),
        ("a number of token channels", vt.token_channels, WIDEST),
        ("a number of map channels", vt.channels, WIDEST),
    ];
    if let First::Clustering { rounds, .. } = vt.tokenizer.first {
        sizes.push(("a number of rounds", rounds, LONGEST));
    }
    if let Position::Downsampled { size, halvings } = vt.tokenizer.position {
        sizes.extend([("a position map", size, WIDEST), ("a number of halvings", halvings, DEEPEST)]);
    }
    sizes
}

/// What is asked of a variant: what, how much, and how much may be.
fn variant_sizes(variant: &Variant) -> Vec<(&'static str, usize, usize)> {
    match *variant {
        Variant::Plain => vec![],
        Variant::SqueezeExcitation(squeeze) => vec![("a ratio", squeeze.ratio, WIDEST)],
        Variant::Cbam(cbam) => vec![("a ratio", cbam.ratio, WIDEST), ("a kernel", cbam.kernel, LONGEST)],
        Variant::LocalRelation(layer) => vec![
            ("a kernel", layer.kernel, LONGEST),
            ("a number of channels that relate alike", layer.channels, WIDEST),
            ("a width in thousandths", layer.width, WIDEST),
        ],
        Variant::Augmented(augmented) => vec![
            ("a number of heads", augmented.heads, LONGEST),
            ("a number of keys", augmented.least_keys, WIDEST),
            ("a share of keys in percent", augmented.key_percent, WIDEST),
            ("a share of values in percent", augmented.value_percent, WIDEST),
        ],
        Variant::Adaptive(adaptive) => vec![("a kernel", adaptive.attention_kernel, LONGEST)],
    }
}

/// What is asked of a trunk: what, how much, and how much may be.
fn trunk_sizes(trunk: &Trunk) -> Vec<(&'static str, usize, usize)> {
    let blocks = trunk.stages.iter().fold(0, |blocks: usize, stage| blocks.saturating_add(stage.blocks));
    let mut sizes =
        vec![("a number of stages", trunk.stages.len(), DEEPEST), ("a number of residual blocks", blocks, LONGEST)];
    if let Stem::Small { kernel, channels, stride, .. } = trunk.stem {
        sizes.extend([
            ("a kernel", kernel, LONGEST),
            ("a number of channels", channels, WIDEST),
            ("a stride", stride, WIDEST),
        ]);
    }
    for stage in &trunk.stages {
        sizes.extend([("a number of channels", stage.channels, WIDEST), ("a stride", stage.stride, WIDEST)]);
    }
    sizes.extend(variant_sizes(&trunk.variant));
    sizes
}

impl From<ResNet> for Network {
    fn from(network: ResNet) -> Self {
        Self::ResNet(network)
    }
}

impl From<VtResNet> for Network {
    fn from(network: VtResNet) -> Self {
        Self::VtResNet(Box::new(network))
    }
}

impl From<Fpn> for Network {
    fn from(network: Fpn) -> Self {
        Self::Fpn(Box::new(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(words: &str) -> Result<Self, NetworkError> {
        let network: Self = serde_json::from_str(words).map_err(|problem| NetworkError::Words(problem.to_string()))?;
        network.check()?;
        Ok(network)
    }
}

/// The model of this name, made for this many classes; `None` where no preset has the name.
#[must_use]
pub fn by_name(name: &str, classes: usize) -> Option<Box<dyn Model>> {
    Network::named(name, classes).ok().map(Network::into_model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_the_network_again() {
        for network in Network::presets(10) {
            let words = network.to_string();
            assert!(!words.contains('\n'), "a checkpoint notes lines");
            assert_eq!(words.parse(), Ok(network));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let refused = |words: &str| words.parse::<Network>().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused("resnet18").contains("is no description of a model"));
        let words = Network::named("vt-resnet18", 10).expect("a preset").to_string();
        assert!(refused(&words.replace("\"tokens\"", "\"takens\"")).contains("takens"));
        assert!(refused(&words.replace("\"blocks\":2,\"proj", "\"blocks\":99999999999,\"proj")).contains("VT blocks"));
        assert!(refused(&words.replace("\"stride\":2", "\"stride\":70000")).contains("a stride of 70000"));
        let words = Network::named("lr-resnet50", 10).expect("a preset").to_string();
        assert!(
            refused(&words.replace("\"kernel\":7", "\"kernel\":18446744073709551615")).contains("a kernel of 1844")
        );
        assert!(refused(&words.replace("\"width\":469", "\"width\":18446744073709551615")).contains("a width in"));
        let unknown = Network::named("resnet19", 10).expect_err("no preset");
        assert!(unknown.to_string().contains("`resnet19`; there are: resnet18, "), "{unknown}");
    }
}
