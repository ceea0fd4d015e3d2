//! What the paper says that its networks cost, beside the networks that we take them for.

mod related;
mod segmentation;
mod visual_tokens;

use super::{Depth, Network};

/// Multiply-adds of one image, and parameters, both in millions. The paper calls the former FLOPs; those of its
/// ResNets are the multiply-adds of convolutions, linear maps and attention products, without norms, pooling and functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Multiply-adds, in millions.
    pub multiply_adds: f64,
    /// What its last digit stands for, in millions.
    pub digit: f64,
    /// Parameters, in millions, where they are stated; the paper leaves those of norms out of its smaller networks.
    pub parameters: Option<f64>,
    /// Multiply-adds of a segmentation network's pyramid, in millions, cut off behind the first digit of a G.
    pub pyramid: Option<f64>,
}

/// A row of the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Where it stands: the table of the paper of ICCV 2021, or else which source.
    pub place: &'static str,
    /// What it is called there.
    pub row: String,
    /// The network that we take it for.
    pub network: Network,
    /// Height, width and channels of the image.
    pub image: [usize; 3],
    /// What is printed there.
    pub figures: Figures,
    /// Top-1 accuracy on ImageNet or mean IoU, in percent, where its table compares such; with the paper's longer recipe.
    pub accuracy: Option<f64>,
    /// Why our count is another, where it is.
    pub remark: Option<&'static str>,
}

/// A table that compares networks by accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The slides of a talk about the first version: ImageNet, networks of 101 layers.
    Slides,
    /// Table 8: ImageNet, networks of 18 to 101 layers.
    Classifiers,
    /// COCO-stuff and LIP.
    Segmentation,
}

impl Table {
    /// Its rows, as far as we have the networks.
    #[must_use]
    pub fn rows(self) -> Vec<Published> {
        let place = match self {
            Self::Slides => TALK,
            Self::Classifiers => CLASSIFIERS,
            Self::Segmentation => SEGMENTATION,
        };
        published().into_iter().filter(|row| row.place == place && row.accuracy.is_some()).collect()
    }
}

const TALK: &str = "talk of November 2020";
const CLASSIFIERS: &str = "table 8";
const SEGMENTATION: &str = "tables of segmentation";

/// Every row of the paper that can be counted.
#[must_use]
pub fn published() -> Vec<Published> {
    let [eighteen, thirty_four] = [Depth::D18, Depth::D34].map(visual_tokens::shallow);
    [related::rows(), eighteen, thirty_four, visual_tokens::deep(), segmentation::rows()].concat()
}

fn row(
    (place, row): (&'static str, &str),
    network: Network,
    [multiply_adds, parameters]: [f64; 2],
    remark: Option<&'static str>,
) -> Published {
    let figures = Figures { multiply_adds, digit: 1.0, parameters: Some(parameters), pyramid: None };
    Published { place, row: row.to_owned(), network, image: [224, 224, 3], figures, accuracy: None, remark }
}

impl Published {
    fn scoring(self, accuracy: f64) -> Self {
        Self { accuracy: Some(accuracy), ..self }
    }

    /// Multiply-adds are printed in G, with so many digits behind the point that the last one stands for this many M.
    fn to(mut self, digit: f64) -> Self {
        self.figures.digit = digit;
        self
    }
}
