//! What the paper says that its networks cost, beside the networks that we take them for.

use super::vt::{First, Interaction, Later, Position, Split};
use super::{Depth, Features, Fpn, Network, Preset, Projecting, ResNet, VtResNet};
use crate::models::layers::Pointwise;

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
    /// Why our count is another, where it is.
    pub remark: Option<&'static str>,
}

/// Why the multiply-adds of the deeper networks are not ours.
const OPEN: &str = "parameters agree, multiply-adds do not: every set of layers known to have these multiply-adds has 8 \
                    tokens, and the paper says 16; it contradicts itself or leaves a layer unsaid";

/// Every row of the paper that can be counted.
#[must_use]
pub fn published() -> Vec<Published> {
    [resnets(), shallow(Depth::D18), shallow(Depth::D34), deep(), segmentation()].concat()
}

fn row(
    (place, row): (&'static str, &str),
    network: Network,
    [multiply_adds, parameters]: [f64; 2],
    remark: Option<&'static str>,
) -> Published {
    let figures = Figures { multiply_adds, digit: 1.0, parameters: Some(parameters), pyramid: None };
    Published { place, row: row.to_owned(), network, image: [224, 224, 3], figures, remark }
}

fn resnets() -> Vec<Published> {
    [
        (Depth::D18, [1814.0, 11.7]),
        (Depth::D34, [3664.0, 21.8]),
        (Depth::D50, [4089.0, 25.5]),
        (Depth::D101, [7802.0, 44.4]),
    ]
    .map(|(depth, figures)| {
        let network = Network::from(ResNet::imagenet(depth, 1000));
        row(("table 8", &format!("ResNet-{}", depth.layers())), network, figures, None)
    })
    .into()
}

/// The counted preset with one thing changed.
fn changed(depth: Depth, change: impl Fn(&mut VtResNet)) -> Network {
    let mut network = VtResNet::imagenet(depth, Preset::Counted, 1000);
    change(&mut network);
    Network::from(network)
}

/// A row of the ablations: table, name, what it changes, what is printed there, why our count is another.
type Ablation = (&'static str, &'static str, fn(&mut VtResNet), [f64; 2], Option<&'static str>);

fn pooling(network: &mut VtResNet) {
    let tokenizer = &mut network.vt.tokenizer;
    (tokenizer.first, tokenizer.later, tokenizer.value) = (First::Pooling, Later::Anew, Pointwise::Identity);
}

fn without_projector(network: &mut VtResNet) {
    network.projecting = Projecting::NoBlock;
    network.vt.tokenizer.later = Later::Kept;
}

/// Half of the tokens are drawn again, and a code of 16 channels says where: the older models of table 8.
fn halves(network: &mut VtResNet) {
    if let Later::Recurrent(recurrent) = &mut network.vt.tokenizer.later {
        recurrent.split = Split::Half;
    }
    network.vt.tokenizer.position = Position::Downsampled { size: 8, halvings: 1 };
}

/// Tables 2 to 8 for VT-ResNet-18 or 34.
fn shallow(depth: Depth) -> Vec<Published> {
    const TYPO: &str = "almost surely a typing error for 3269";
    const CLUSTERS: &str = "almost surely a typing error for 3299 or 3300";
    const OLD: &str = "a network of the first version that has one transformer less, as far as its counts say";
    let eighteen = depth == Depth::D18;
    let pick = |first: [f64; 2], second: [f64; 2]| if eighteen { first } else { second };
    let remark = |remark: &'static str| if eighteen { None } else { Some(remark) };
    let rows: [Ablation; 11] = [
        ("table 2", "", |_| {}, pick([1579.0, 11.6], [3299.0, 21.8]), None),
        ("table 3", "pooling tokenizer", pooling, pick([1550.0, 11.0], [3246.0, 20.6]), None),
        ("table 3", "clustering tokenizer", clustering, pick([1580.0, 11.6], [3230.0, 21.8]), remark(CLUSTERS)),
        ("table 4", "without recurrent tokenizer", anew, pick([1564.0, 11.1], [3369.0, 20.7]), remark(TYPO)),
        ("table 5", "no interaction", alone, pick([1528.0, 8.5], [3222.0, 17.1]), None),
        ("table 5", "graph convolution", graph, pick([1528.0, 8.5], [3223.0, 17.1]), None),
        ("table 6", "32 tokens", |network| network.vt.tokens = 32, pick([1711.0, 11.6], [3514.0, 21.8]), None),
        ("table 6", "64 tokens", |network| network.vt.tokens = 64, pick([1979.0, 11.6], [3951.0, 21.8]), None),
        ("table 7", "without projector", without_projector, pick([1497.0, 9.3], [3158.0, 17.3]), None),
        ("table 7, arXiv v4", "half split, position", halves, pick([1569.0, 11.7], [3280.0, 21.9]), None),
        ("table 8", "half split, position", halves, pick([1569.0, 11.7], [3236.0, 19.2]), remark(OLD)),
    ];
    rows.map(|(place, what, change, figures, remark)| {
        let comma = if what.is_empty() { "" } else { ", " };
        let name = format!("VT-ResNet-{}{comma}{what}", depth.layers());
        row((place, &name), changed(depth, change), figures, remark)
    })
    .into()
}

fn clustering(network: &mut VtResNet) {
    if let First::Filter(attention) = network.vt.tokenizer.first {
        network.vt.tokenizer.first = First::Clustering { rounds: 1, attention };
    }
}

fn anew(network: &mut VtResNet) {
    network.vt.tokenizer.later = Later::Anew;
}

fn alone(network: &mut VtResNet) {
    network.vt.interaction = Interaction::None;
}

fn graph(network: &mut VtResNet) {
    network.vt.interaction = Interaction::GraphConv;
}

/// VT-ResNet-50 and 101. The one of the talk has no last projector, the other of 101 layers has.
fn deep() -> Vec<Published> {
    let counted = |depth| changed(depth, |_| {});
    let projected = changed(Depth::D101, |network| {
        network.projecting = Projecting::EveryBlock;
        network.features = Features::Pixels;
    });
    let talk = ("talk of November 2020", "VT-ResNet-101");
    vec![
        row(("table 8", "VT-ResNet-50"), counted(Depth::D50), [3412.0, 21.4], Some(OPEN)),
        row(talk, counted(Depth::D101), [7127.0, 40.33], Some(OPEN)),
        row(("table 8", "VT-ResNet-101, last projector too"), projected, [7129.0, 41.5], Some(OPEN)),
    ]
}

/// FPN and VT-FPN on COCO-stuff and LIP; in G, some with a digit behind the point.
fn segmentation() -> Vec<Published> {
    const FIFTY: &str =
        "a ResNet-50 backbone has 0.1 to 0.2 G more here; with 101 layers the same parts add up to what is published";
    let place = "tables of segmentation";
    let sets = [
        ("COCO-stuff", [800, 1216, 3], 54, 1e3, [[159.0, 231.0, 55.1], [113.0, 185.0, 8.5]]),
        ("LIP", [473, 473, 3], 20, 1e2, [[37.1, 54.4, 12.8], [26.4, 43.6, 2.0]]),
    ];
    let mut rows = Vec::new();
    for (set, image, classes, digit, figures) in sets {
        let networks = [("FPN", Fpn::semantic as fn(_, _) -> Fpn), ("VT-FPN", Fpn::visual_tokens)];
        for ((name, network), [fifty, hundred, pyramid]) in networks.into_iter().zip(figures) {
            for (depth, total) in [(Depth::D50, fifty), (Depth::D101, hundred)] {
                let figures =
                    Figures { multiply_adds: 1e3 * total, digit, parameters: None, pyramid: Some(1e3 * pyramid) };
                rows.push(Published {
                    place,
                    row: format!("{name}, ResNet-{}, {set}", depth.layers()),
                    network: Network::from(network(depth, classes)),
                    image,
                    figures,
                    remark: (set == "LIP" && depth == Depth::D50).then_some(FIFTY),
                });
            }
        }
    }
    rows
}
