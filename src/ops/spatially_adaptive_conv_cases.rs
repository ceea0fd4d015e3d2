//! What spatially adaptive convolutions are tried on.

use super::{Map, SpatiallyAdaptiveConv};
use crate::graph::{Case, Draw};

/// Where raw stands among the inputs, and the attention's bias.
const RAW: usize = 1;
const BIAS: usize = 3;

/// Of images [N, H, W], channels [R, C, M] and kernels [K, A].
fn case(function: Map, image: [usize; 3], [raw, channels, out]: [usize; 3], [kernel, attention]: [usize; 2]) -> Case {
    let op = SpatiallyAdaptiveConv { kernel, attention_kernel: attention, nonlinearity: function };
    let [n, h, w] = image;
    let columns = kernel * kernel * channels;
    let shapes: [&[usize]; 5] = [
        &[n, h, w, channels],
        &[n, h, w, raw],
        &[attention, attention, raw, columns],
        &[columns],
        &[kernel, kernel, channels, out],
    ];
    // Scores of a few units: neither all in the middle of a sigmoid nor all at its ends.
    let spread = 2.0 / ((attention * attention * raw) as f64).sqrt();
    Case::new(op, &shapes).constant(RAW).f32(BIAS).draw(2, Draw::Between(-spread, spread))
}

pub(super) fn cases() -> Vec<Case> {
    let sigmoid = |image, channels, kernels| case(Map::Sigmoid, image, channels, kernels);
    let mut cases = vec![
        sigmoid([1, 1, 1], [1, 1, 1], [1, 1]),
        // Images smaller than a patch, and than the kernel.
        sigmoid([2, 2, 3], [3, 2, 3], [3, 7]),
        sigmoid([1, 1, 7], [2, 3, 1], [5, 3]),
        sigmoid([2, 5, 7], [3, 5, 6], [3, 7]),
        case(Map::Relu, [1, 3, 5], [3, 3, 5], [3, 3]),
        case(Map::Gelu, [1, 4, 9], [4, 6, 7], [3, 3]),
        // By fours.
        sigmoid([2, 6, 5], [4, 8, 12], [3, 3]),
        // The same by a sigmoid and by ReLU: what each costs in precision is compared (`benches/results`).
        sigmoid([1, 9, 4], [3, 4, 20], [3, 3]),
        case(Map::Relu, [1, 9, 4], [3, 4, 20], [3, 3]),
        sigmoid([3, 3, 11], [8, 12, 4], [1, 5]),
        // Whole tiles of any size; those of patches with one number more, which is the bias's, are if patches have one less.
        sigmoid([2, 8, 8], [4, 128, 128], [1, 1]),
        sigmoid([2, 8, 8], [127, 128, 128], [1, 1]),
        // Sticking out of several tiles, and of as many as a workgroup holds: channels of x and y, then numbers of a patch.
        sigmoid([2, 9, 8], [4, 132, 260], [1, 1]),
        sigmoid([1, 6, 1], [11, 15, 1], [3, 7]),
        // Several tiles of columns, one behind the other, and pixels enough for slices.
        sigmoid([2, 13, 12], [4, 20, 36], [3, 3]),
        // Scores far from zero, where a sigmoid is flat and e^x overflows.
        sigmoid([2, 4, 3], [3, 4, 4], [3, 3]).draw(RAW, Draw::Between(-400.0, 400.0)).no_gradient(),
    ];
    for (image, channels, layer) in
        [([64, 56, 56], [3, 64, 64], "sac stage 2, batch 64"), ([16, 64, 512], [3, 32, 32], "sac scan, batch 16")]
    {
        cases.push(sigmoid(image, channels, [3, 7]).real(layer));
    }
    cases
}
