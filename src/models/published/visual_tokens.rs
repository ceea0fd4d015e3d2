//! What is published of VT-ResNets: tables 2 to 8, and the talk.

use super::{CLASSIFIERS, Published, TALK, row};
use crate::models::layers::Pointwise;
use crate::models::vt::{First, Interaction, Later, Position, Split};
use crate::models::{Depth, Features, Network, Preset, Projecting, VtResNet};

/// Why the multiply-adds of the deeper networks are not ours.
const OPEN: &str = "parameters agree, multiply-adds do not: every set of layers known to have these multiply-adds has 8 \
                    tokens, and the paper says 16; it contradicts itself or leaves a layer unsaid";

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
pub(super) fn shallow(depth: Depth) -> Vec<Published> {
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
        (CLASSIFIERS, "half split, position", halves, pick([1569.0, 11.7], [3236.0, 19.2]), remark(OLD)),
    ];
    rows.map(|(place, what, change, figures, remark)| {
        let comma = if what.is_empty() { "" } else { ", " };
        let name = format!("VT-ResNet-{}{comma}{what}", depth.layers());
        let row = row((place, &name), changed(depth, change), figures, remark);
        if place == CLASSIFIERS { row.scoring(if eighteen { 76.8 } else { 79.9 }) } else { row }
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
pub(super) fn deep() -> Vec<Published> {
    let counted = |depth| changed(depth, |_| {});
    let projected = changed(Depth::D101, |network| {
        network.projecting = Projecting::EveryBlock;
        network.features = Features::Pixels;
    });
    let last = (CLASSIFIERS, "VT-ResNet-101, last projector too");
    vec![
        row((CLASSIFIERS, "VT-ResNet-50"), counted(Depth::D50), [3412.0, 21.4], Some(OPEN)).scoring(80.6),
        row((TALK, "VT-ResNet-101"), counted(Depth::D101), [7127.0, 40.33], Some(OPEN)).scoring(81.09),
        row(last, projected, [7129.0, 41.5], Some(OPEN)).scoring(82.3),
    ]
}
