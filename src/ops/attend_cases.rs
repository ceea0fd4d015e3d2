//! The cases that attention is tried on.

use super::Attend;
use crate::graph::{Case, Draw};

/// As [`SHAPES`], for cooperative matrices: channels are whole fragments, and all else is awkward.
const WHOLE: &[[usize; 5]] = &[
    [9, 300, 1, 16, 32],
    [17, 70, 2, 32, 16],
    [9, 130, 1, 32, 32],
    [70, 9, 2, 32, 32],
    [16, 16, 2, 64, 128],
    [40, 5, 1, 48, 16],
    [8, 1281, 1, 64, 64],
    [16, 130, 1, 256, 128],
    [33, 100, 1, 512, 128],
    // Too wide for workgroup memory to hold the tokens too.
    [9, 24, 1, 288, 32],
    [70, 9, 1, 32, 288],
    [300, 9, 1, 16, 32],
    [130, 16, 2, 64, 64],
    [70, 40, 1, 32, 64],
    [50, 64, 1, 128, 64],
    [65, 8, 1, 256, 128],
    // One token, and one pixel that several ask.
    [1, 300, 1, 16, 32],
    [1, 9, 1, 16, 32],
];

/// Queries, keys, heads, channels of a head of q and k, of v.
const SHAPES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 1],
    [1, 2, 1, 3, 1],
    [8, 8, 2, 5, 3],
    [3, 7, 1, 33, 17],
    [16, 16, 1, 4, 40],
    [33, 8, 2, 4, 5],
    [31, 16, 1, 16, 65],
    [127, 3, 1, 2, 7],
    [40, 64, 1, 3, 2],
    [1, 65, 1, 5, 3],
    [3, 127, 2, 4, 5],
    [16, 196, 1, 5, 16],
    [17, 100, 1, 33, 9],
    [9, 300, 1, 2, 130],
    // More channels than a workgroup sums at once.
    [9, 70, 1, 70, 90],
    [40, 5, 1, 40, 50],
    // Far more channels on one side than on the other.
    [5, 6, 1, 70, 3],
    [70, 6, 1, 130, 8],
    [9, 70, 1, 130, 8],
    // Several channels a lane.
    [3, 70, 1, 300, 300],
    [70, 9, 1, 300, 300],
    // No larger: llvmpipe ends all loops of an invocation after 65,535 turns.
    [32, 40, 1, 260, 260],
    // Two tiles of queries by keys that fill their tiles.
    [30, 128, 2, 4, 5],
    // Sums split among several workgroups: an even number of parts, and a last part of one row.
    [9, 1100, 2, 3, 5],
    [1100, 9, 2, 3, 5],
    [9, 1281, 2, 3, 5],
    [1281, 9, 2, 3, 5],
];

pub(super) fn cases() -> Vec<Case> {
    let case = |heads: usize, n: usize, [q, k, c, d]: [usize; 4], scale: f64| {
        Case::new(Attend { heads, scale }, &[&[n, q, c], &[n, k, c], &[n, k, d]])
    };
    let awkward = SHAPES.iter().chain(WHOLE).map(|&[q, k, heads, depth, width]| {
        case(heads, 2, [q, k, heads * depth, heads * width], 1.0 / (depth as f64).sqrt())
    });
    let mut cases: Vec<Case> = awkward.collect();
    // One image and many pixels: the sums over pixels are split among workgroups.
    cases.push(case(1, 1, [2, 700, 3, 4], 0.5));
    cases.push(case(1, 1, [2, 5000, 3, 4], 0.5));
    cases.push(case(1, 1, [700, 2, 3, 4], 0.5));
    // The keys are the values.
    let alike = [
        [3, 7, 5],
        [16, 16, 48],
        [9, 300, 16],
        [9, 100, 32],
        [8, 1000, 64],
        [40, 5, 16],
        [1, 70, 33],
        // In 48 KiB there is no room for a tile's two products; and just so.
        [9, 16, 1024],
        [5, 24, 896],
    ];
    cases
        .extend(alike.map(|[q, k, c]| {
            Case::new(Attend { heads: 1, scale: 1.0 / (c as f64).sqrt() }, &[&[2, q, c], &[2, k, c]])
        }));
    // Scores beyond what exp can bear: only their distance from the largest may reach it.
    cases.extend([[9, 7, 3, 3], [33, 8, 3, 3], [5, 127, 3, 3]].map(|sizes| case(1, 2, sizes, 40.0)));
    cases.extend([[5, 300, 16, 16], [33, 8, 16, 16]].map(|sizes| case(1, 2, sizes, 8.0)));
    // So far apart that one part of the keys has all the weight. The derivative is too steep to be told by differences.
    cases.push(case(1, 2, [9, 700, 3, 3], 4000.0).no_gradient());
    cases.push(case(1, 2, [9, 700, 16, 32], 2000.0).no_gradient());
    // Of one key the gradients of scores are 0: what is left of them has no yardstick.
    cases.extend([[1, 1, 16, 16], [9, 1, 16, 32], [300, 1, 16, 32]].map(|sizes| case(1, 2, sizes, 1.0).no_gradient()));
    // Maps that are the same everywhere: every pixel has its share of the weight, to the bit. Those who ask learn nothing.
    let constant = |sizes| case(1, 2, sizes, 0.2).draw(1, Draw::Between(0.75, 0.75)).draw(2, Draw::Between(-1.5, -1.5));
    cases.extend([[5, 300, 3, 3], [9, 130, 32, 32], [130, 9, 32, 32]].map(|sizes| constant(sizes).no_gradient()));
    let real = |[n, heads]: [usize; 2], sizes: [usize; 4], layer| {
        case(heads, n, sizes, 1.0 / (sizes[2] as f64 / heads as f64).sqrt()).real(layer)
    };
    cases.extend([
        real([256, 1], [16, 196, 256, 256], "vt-resnet filter tokenizer, 14x14"),
        real([256, 16], [16, 196, 512, 512], "vt-resnet recurrent tokenizer, 14x14"),
        real([256, 16], [16, 49, 512, 512], "vt-resnet recurrent tokenizer, 7x7"),
        real([256, 16], [16, 16, 512, 1024], "vt-resnet token transformer"),
        real([256, 16], [196, 16, 512, 512], "vt-resnet projector, 14x14"),
        real([2, 16], [8, 60_800, 256, 256], "vt-fpn tokenizer, finest map"),
        real([2, 16], [60_800, 8, 256, 256], "vt-fpn projector, finest map"),
    ]);
    cases
}
