//! How well a model does, in words and in JSON.

use serde_json::{Value, json};
use vistok::train::{Score, Segmented};

/// A sentence without its end.
pub(super) fn said(score: &Score, count: usize) -> String {
    match score {
        Score::Images { right } => format!("{:.2} % of {count} test images right", 100.0 * right),
        Score::Pixels(segmented) => {
            let most = (0..segmented.labeled.len()).rev().max_by_key(|&class| segmented.labeled[class]).unwrap_or(0);
            let shares = [segmented.mean_iou, segmented.right, segmented.constant(most).mean_iou];
            let [iou, right, least] = shares.map(|share| 100.0 * share);
            format!(
                "mean intersection over union {iou:.2} % of {count} test images, {right:.2} % of their pixels right (all taken for \
                 class {most}, the most frequent: {least:.2} %)"
            )
        }
    }
}

/// What a log keeps of it: accuracy, or the mean intersection over union.
pub(super) fn number(score: &Score) -> f64 {
    match score {
        Score::Images { right } => *right,
        Score::Pixels(segmented) => segmented.mean_iou,
    }
}

/// Adds the score to a document.
pub(super) fn tell(score: &Score, document: &mut Value) {
    match score {
        Score::Images { right } => document["test_accuracy"] = json!(right),
        Score::Pixels(Segmented { mean_iou, right, iou, .. }) => {
            document["test_mean_iou"] = json!(mean_iou);
            document["test_pixel_accuracy"] = json!(right);
            document["test_iou"] = json!(iou);
        }
    }
}
