//! What is published of the systems that the paper compares with: the table of the talk, and table 8.

use super::{CLASSIFIERS, Published, TALK, row};
use crate::models::related::{Augmented, Cbam, LocalRelationLayer, SqueezeExcitation};
use crate::models::resnet::Block;
use crate::models::{Depth, Network, ResNet, Variant};

/// The deeper networks with gates are quoted from papers that have the stride of a bottleneck in its first convolution.
fn network(depth: Depth, variant: Variant) -> Network {
    let mut network = ResNet::imagenet(depth, 1000);
    let gated = matches!(variant, Variant::SqueezeExcitation(_) | Variant::Cbam(_));
    if gated && network.trunk.block == Block::Bottleneck {
        network.trunk.block = Block::BottleneckStrideFirst;
    }
    Network::from(network.varied(variant))
}

pub(super) fn rows() -> Vec<Published> {
    const PARAMETERS: &str = "almost surely a typing error for 22.0 M parameters";
    let squeeze = || Variant::SqueezeExcitation(SqueezeExcitation::default());
    let cbam = || Variant::Cbam(Cbam::default());
    let plain = || Variant::Plain;
    let (d18, d34, d50, d101) = (Depth::D18, Depth::D34, Depth::D50, Depth::D101);
    let rows = [
        (TALK, d101, plain(), [7802.0, 44.44], 77.39, None),
        (TALK, d101, squeeze(), [7575.0, 49.33], 77.65, None),
        (TALK, d101, cbam(), [7581.0, 49.33], 78.49, None),
        (CLASSIFIERS, d18, plain(), [1814.0, 11.7], 69.8, None),
        (CLASSIFIERS, d18, squeeze(), [1814.0, 11.8], 70.6, None),
        (CLASSIFIERS, d18, cbam(), [1815.0, 11.8], 70.7, None),
        (CLASSIFIERS, d34, plain(), [3664.0, 21.8], 73.3, None),
        (CLASSIFIERS, d34, squeeze(), [3664.0, 22.0], 73.9, None),
        (CLASSIFIERS, d34, cbam(), [3664.0, 22.9], 74.0, Some(PARAMETERS)),
        (CLASSIFIERS, d50, plain(), [4089.0, 25.5], 76.0, None),
        (CLASSIFIERS, d50, squeeze(), [3860.0, 28.1], 76.9, None),
        (CLASSIFIERS, d50, cbam(), [3864.0, 28.1], 77.3, None),
        (CLASSIFIERS, d101, plain(), [7802.0, 44.4], 77.4, None),
        (CLASSIFIERS, d101, squeeze(), [7575.0, 49.3], 77.7, None),
        (CLASSIFIERS, d101, cbam(), [7581.0, 49.3], 78.5, None),
    ];
    rows.into_iter()
        .map(|(place, depth, variant, figures, accuracy, remark)| {
            let name = variant.titled(&format!("ResNet-{}", depth.layers()));
            row((place, &name), network(depth, variant), figures, remark).scoring(accuracy)
        })
        .chain(attention())
        .collect()
}

/// Attention in place of convolutions or beside them, quoted from papers of their own: billions of multiply-adds, to a digit or two.
fn attention() -> Vec<Published> {
    const WIDTH: &str = "how wide its bottlenecks are inside is not known here: no width has the numbers of all three networks; ours, 120 \
                         channels where a ResNet has 64, is within 4 % of each";
    const PRODUCTS: &str = "there the products of pixels with pixels are left out; without them it has 8,050 M, too";
    const OPEN: &str = "no reading of the layer has the numbers of this depth";
    let local = || Variant::LocalRelation(LocalRelationLayer::default());
    let augmented = || Variant::Augmented(Augmented::default());
    let rows = [
        (TALK, ResNet::imagenet(Depth::D101, 1000), local(), [7790.0, 42.0], (10.0, 78.5), Some(WIDTH)),
        (TALK, ResNet::imagenet(Depth::D101, 1000), augmented(), [8050.0, 45.4], (10.0, 78.7), Some(PRODUCTS)),
        (CLASSIFIERS, ResNet::bottlenecks26(1000), local(), [2500.0, 14.4], (100.0, 74.6), Some(WIDTH)),
        (CLASSIFIERS, ResNet::imagenet(Depth::D50, 1000), local(), [4300.0, 23.3], (100.0, 77.3), Some(WIDTH)),
        (CLASSIFIERS, ResNet::imagenet(Depth::D101, 1000), local(), [7790.0, 42.0], (10.0, 78.5), Some(WIDTH)),
        (CLASSIFIERS, ResNet::imagenet(Depth::D34, 1000), augmented(), [3550.0, 20.7], (10.0, 74.7), Some(OPEN)),
        (CLASSIFIERS, ResNet::imagenet(Depth::D50, 1000), augmented(), [4100.0, 25.6], (100.0, 77.7), Some(OPEN)),
        (CLASSIFIERS, ResNet::imagenet(Depth::D101, 1000), augmented(), [8050.0, 45.4], (10.0, 78.7), Some(PRODUCTS)),
    ];
    rows.into_iter()
        .map(|(place, network, variant, figures, (digit, accuracy), remark)| {
            let name = variant.titled(&network.name.replace("resnet", "ResNet-"));
            row((place, &name), Network::from(network.varied(variant)), figures, remark).scoring(accuracy).to(digit)
        })
        .collect()
}
