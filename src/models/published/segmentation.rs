//! What is published of segmentation: FPN and VT-FPN.

use super::{Figures, Published, SEGMENTATION};
use crate::models::{Depth, Fpn, Network};

/// FPN and VT-FPN on COCO-stuff and LIP; in G, some with a digit behind the point.
pub(super) fn rows() -> Vec<Published> {
    const FIFTY: &str =
        "a ResNet-50 backbone has 0.1 to 0.2 G more here; with 101 layers the same parts add up to what is published";
    let sets = [
        (
            "COCO-stuff",
            [800, 1216, 3],
            54,
            1e3,
            [[159.0, 231.0, 55.1], [113.0, 185.0, 8.5]],
            [[40.78, 41.51], [41.00, 41.50]],
        ),
        ("LIP", [473, 473, 3], 20, 1e2, [[37.1, 54.4, 12.8], [26.4, 43.6, 2.0]], [[47.04, 47.35], [47.39, 47.58]]),
    ];
    let mut rows = Vec::new();
    for (set, image, classes, digit, figures, scores) in sets {
        let networks = [("FPN", Fpn::semantic as fn(_, _) -> Fpn), ("VT-FPN", Fpn::visual_tokens)];
        for (((name, network), [fifty, hundred, pyramid]), score) in networks.into_iter().zip(figures).zip(scores) {
            for (depth, total, score) in [(Depth::D50, fifty, score[0]), (Depth::D101, hundred, score[1])] {
                let figures =
                    Figures { multiply_adds: 1e3 * total, digit, parameters: None, pyramid: Some(1e3 * pyramid) };
                rows.push(Published {
                    place: SEGMENTATION,
                    row: format!("{name}, ResNet-{}, {set}", depth.layers()),
                    network: Network::from(network(depth, classes)),
                    image,
                    figures,
                    accuracy: Some(score),
                    remark: (set == "LIP" && depth == Depth::D50).then_some(FIFTY),
                });
            }
        }
    }
    rows
}
