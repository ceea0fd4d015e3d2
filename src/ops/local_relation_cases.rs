//! The cases that local relation is tried on.

use super::{LocalRelation, LocalRelationBackward, Similarity};
use crate::graph::{Case, Draw};

/// Inputs q, k, x and geometry for images [N, H, W] of so many groups of so many channels.
fn shapes(op: LocalRelation, [n, h, w]: [usize; 3], [groups, channels]: [usize; 2]) -> [Vec<usize>; 4] {
    let [out_h, out_w] = [h, w].map(|size| (size - 1) / op.stride + 1);
    [
        vec![n, out_h, out_w, groups],
        vec![n, h, w, groups],
        vec![n, h, w, groups * channels],
        vec![op.kernel[0] * op.kernel[1], groups],
    ]
}

fn case(op: LocalRelation, images: [usize; 3], groups: [usize; 2]) -> Case {
    let shapes = shapes(op, images, groups);
    Case::new(op, &shapes.each_ref().map(Vec::as_slice)).f32(3)
}

/// The backward op by itself, of numbers that no forward pass gave.
fn backward(op: LocalRelation, images: [usize; 3], groups: [usize; 2]) -> Case {
    let [q, k, x, geometry] = shapes(op, images, groups);
    let y = [&q[..3], &x[3..]].concat();
    let case = Case::new(LocalRelationBackward(op), &[&q, &k, &x, &geometry, &y, &q, &y]).f32(3).f32(5);
    // Weights are exp(score - log_sum): not far above 1.
    case.draw(5, Draw::Between(2.0, 3.0)).no_gradient()
}

pub(super) fn cases() -> Vec<Case> {
    let op = |kernel: usize, stride: usize, similarity: Similarity| LocalRelation {
        kernel: [kernel; 2],
        stride,
        similarity,
        scale: 1.0,
    };
    let square = |kernel, stride| op(kernel, stride, Similarity::Square);
    let mut cases: Vec<Case> = Similarity::ALL
        .map(|similarity| case(LocalRelation { scale: 0.7, ..op(3, 1, similarity) }, [2, 4, 5], [2, 4]))
        .into();
    cases.extend([
        // Of one tap the softmax is 1, whatever it scores: the slopes are 0, and f32 in another order makes their last bits of it.
        case(square(1, 1), [1, 1, 1], [1, 1]).no_gradient(),
        case(square(3, 1), [1, 1, 2], [3, 1]),
        // Windows larger than the image; groups of 16 bytes, of several strips, and of odd channels.
        case(square(7, 1), [2, 3, 7], [2, 8]),
        case(square(5, 1), [1, 9, 3], [1, 16]),
        case(square(3, 1), [1, 8, 6], [13, 3]),
        case(square(3, 1), [1, 5, 4], [1, 36]),
        // Runs that end beyond the row, bands of several rows, more groups than a workgroup takes at once.
        case(square(5, 1), [2, 6, 11], [3, 8]),
        case(square(3, 1), [1, 2, 9], [70, 1]),
        case(square(3, 1), [3, 14, 13], [8, 2]),
        // Strides: windows that overlap, meet, and leave pixels out.
        case(square(3, 2), [2, 7, 10], [2, 8]),
        case(square(5, 2), [1, 8, 9], [3, 4]),
        case(square(3, 3), [2, 7, 11], [2, 4]),
        case(square(1, 2), [1, 3, 4], [2, 1]).no_gradient(),
        case(square(3, 5), [1, 11, 13], [2, 8]),
        case(LocalRelation { kernel: [1, 5], ..square(1, 1) }, [1, 3, 9], [2, 4]),
        case(LocalRelation { kernel: [5, 3], ..square(1, 2) }, [1, 7, 6], [2, 4]),
        // The longest rows of taps.
        case(LocalRelation { kernel: [3, 31], ..square(1, 1) }, [1, 3, 20], [1, 2]),
    ]);
    // Similarities beyond what exp can bear, and so low that pixels outside of the image count.
    let far = |scale, similarity| LocalRelation { scale, ..op(3, 1, similarity) };
    cases.push(case(far(40.0, Similarity::Product), [1, 5, 6], [2, 4]));
    cases.push(case(far(30.0, Similarity::Square), [2, 3, 4], [2, 8]));
    cases.push(case(far(2000.0, Similarity::Product), [1, 5, 6], [2, 8]).no_gradient());
    for channels in [3, 8] {
        let low = case(far(1.0, Similarity::Key), [1, 4, 5], [2, channels]);
        cases.push(low.draw(1, Draw::Between(-110.0, -90.0)));
    }
    // What is outside of the image is never added, whatever stands at its edge.
    cases.push(case(square(3, 1), [2, 5, 6], [2, 8]).draw(2, Draw::Extreme).no_gradient());
    cases.push(case(square(3, 2), [2, 5, 6], [2, 4]).draw(2, Draw::Extreme).no_gradient());
    // Equal numbers, whose distance has no slope; zeros, whose size has none.
    for similarity in [Similarity::Distance, Similarity::RelativeDistance, Similarity::RelativeSquare] {
        let alike = backward(op(3, 1, similarity), [2, 5, 6], [2, 4]);
        cases.push(alike.draw(0, Draw::Labels(2)).draw(1, Draw::Labels(3)));
    }
    cases.push(backward(square(5, 2), [3, 5, 9], [3, 8]).draw(5, Draw::Between(4.0, 5.0)));
    cases.extend(real());
    cases
}

/// LR-ResNet's windows of 7 x 7, 8 channels an aggregation.
fn real() -> Vec<Case> {
    let real = |stride, [n, size, groups]: [usize; 3], layer| {
        let op = LocalRelation { kernel: [7; 2], stride, similarity: Similarity::Square, scale: 1.0 };
        case(op, [n, size, size], [groups, 8]).real(layer)
    };
    vec![
        real(1, [64, 56, 8], "lr-resnet stage 2, 64 channels"),
        real(1, [64, 56, 13], "lr-resnet stage 2, 104 channels"),
        real(2, [64, 56, 25], "lr-resnet stage 3, first block, 200 channels"),
        real(1, [64, 28, 25], "lr-resnet stage 3, 200 channels"),
        real(1, [64, 14, 50], "lr-resnet stage 4, 400 channels"),
        real(1, [64, 7, 100], "lr-resnet stage 5, 800 channels"),
    ]
}
