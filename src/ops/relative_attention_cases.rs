//! The cases that attention over pixels is tried on.

use super::RelativeAttention;
use crate::graph::{Case, Draw};

/// Images, height, width, heads, channels of a head of queries and keys, and of values.
const SHAPES: &[[usize; 6]] = &[
    [2, 2, 3, 1, 2, 1],
    [1, 3, 2, 2, 3, 2],
    [2, 3, 5, 2, 5, 3],
    // Four channels at a time; values alike, or picked out of the fours.
    [1, 5, 9, 1, 4, 4],
    [2, 6, 4, 2, 8, 2],
    [1, 7, 7, 4, 20, 7],
    [1, 4, 3, 2, 4, 10],
    [1, 4, 6, 2, 12, 6],
    // Several tiles of keys and of queries, whole ones and others.
    [1, 13, 11, 1, 3, 1],
    [1, 8, 16, 1, 1, 1],
    [1, 2, 67, 1, 2, 3],
    [1, 67, 2, 1, 2, 3],
    [1, 14, 14, 1, 4, 2],
    // The most channels that a head may have.
    [1, 2, 3, 1, 64, 64],
    [1, 3, 4, 2, 33, 17],
    // What kernels hand to one another of all images is more than a software adapter is given for it.
    [7, 7, 7, 2, 3, 2],
];

pub(super) fn cases() -> Vec<Case> {
    let case = |[n, height, width, heads, depth, values]: [usize; 6], scale: f64| {
        let key_channels = heads * depth;
        let op = RelativeAttention { heads, key_channels, scale };
        let channels = 2 * key_channels + heads * values;
        Case::new(op, &[&[n, height, width, channels], &[2 * height - 1, depth], &[2 * width - 1, depth]])
    };
    let scaled = |sizes: [usize; 6]| case(sizes, 1.0 / (sizes[4] as f64).sqrt());
    let mut cases: Vec<Case> = SHAPES.iter().map(|&sizes| scaled(sizes)).collect();
    // With one row or column the only entry of its table moves all logits alike: its gradient is 0, and what is left of it has no
    // yardstick. So have the gradients of queries and keys where there is but one pixel.
    let lines = [[1, 1, 1, 1, 1, 1], [3, 1, 1, 2, 4, 4], [2, 1, 3, 1, 2, 1], [1, 5, 1, 2, 3, 2], [1, 1, 70, 1, 4, 1]];
    cases.extend(lines.map(|sizes| scaled(sizes).no_gradient()));
    // Logits beyond what exp can bear: only their distance from the largest may reach it.
    cases.extend([[1, 3, 5, 2, 3, 2], [1, 6, 7, 1, 4, 4]].map(|sizes| case(sizes, 15.0)));
    // So far apart that one key has all the weight. The derivative is too steep to be told by differences.
    cases.push(case([1, 6, 7, 1, 4, 4], 2000.0).no_gradient());
    // Maps and tables that are the same everywhere: every pixel has its share of the weight, to the bit.
    let alike = scaled([1, 5, 6, 2, 4, 2]).draw(0, Draw::Between(0.75, 0.75));
    cases.push(alike.draw(1, Draw::Between(0.5, 0.5)).draw(2, Draw::Between(-1.5, -1.5)).no_gradient());
    let real = |sizes, layer| scaled(sizes).real(layer);
    cases.extend([
        real([64, 28, 28, 8, 20, 2], "aa-resnet50 stage 2, 28x28"),
        real([64, 14, 14, 8, 20, 4], "aa-resnet50 stage 3, 14x14"),
        real([64, 7, 7, 8, 20, 7], "aa-resnet50 stage 4, 7x7"),
        real([1, 56, 56, 1, 20, 2], "a head of 56x56, the most pixels that are asked for"),
    ]);
    cases
}
