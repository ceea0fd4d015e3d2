//! Intersection over union of each class, and its mean: how good a segmentation is.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// counts `u32 [K, K]`, of a [`ConfusionMatrix`](super::ConfusionMatrix) → iou `f32 [K]`, mean `f32 [1]`.
///
/// iou_k = counts_kk / (Σ_j counts_kj + Σ_i counts_ik − counts_kk): rows of both label and prediction k over rows of either. A class
/// that no label has is 0 and left out of the mean, as in Detectron2. All counts together must stay below 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeanIou;

kernel! {
    /// One workgroup.
    struct Forward = "mean_iou/forward" {
        params { classes: u32 }
        read { counts }
        write { iou, mean }
    }
}

impl Op for MeanIou {
    fn name(&self) -> &'static str {
        "mean_iou"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [counts] = inputs else { return Err(format!("takes counts, not {} inputs", inputs.len())) };
        match counts.shape.rank() {
            Some([labels, predictions]) if labels == predictions && counts.elem == Elem::U32 => {
                Ok(vec![Tensor::f32([labels]), Tensor::f32([1])])
            }
            _ => Err(format!("counts must be u32 [K, K] and are {counts}")),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [classes, _] = io.input_dims(0);
        let call = Forward { classes: word(classes), counts: io.input(0), iou: io.output(0), mean: io.output(1) };
        out.dispatch(&call, Variant::default().constant("WORKGROUP", tuning::lanes(io.machine)), Grid::of(1));
    }

    fn backward(&self, _: &Node, _: &[Option<Value>], _: &mut Graph) -> Gradients {
        let why = "counts are whole numbers, which do not move when logits move a little";
        Err(GraphError::NoGradient { op: self.name().to_owned(), why })
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for MeanIou {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [classes, _] = inputs[0].dims();
        let counts = |label: usize, class: usize| inputs[0].data[label * classes + class];
        let all = |of: &dyn Fn(usize) -> T| (0..classes).map(of).sum::<T>();
        let shares = (0..classes).map(|k| {
            let (labeled, predicted) = (all(&|other| counts(k, other)), all(&|other| counts(other, k)));
            (labeled > T::default()).then(|| counts(k, k) / (labeled + predicted - counts(k, k)))
        });
        let shares: Vec<Option<T>> = shares.collect();
        let present: Vec<T> = shares.iter().copied().flatten().collect();
        let mean = present.iter().copied().sum::<T>() / T::count(present.len().max(1));
        let iou = shares.into_iter().map(Option::unwrap_or_default).collect();
        vec![Array { shape: vec![classes], data: iou }, Array { shape: vec![1], data: vec![mean] }]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<MeanIou>(
        "mean_iou",
        "iou_k = counts_kk / (Σ_j counts_kj + Σ_i counts_ik − counts_kk), 0 of a class that no label has; mean over the others",
        &[],
        [&[("counts", "u32 [K, K]")], &[("iou", "f32 [K]"), ("mean", "f32 [1]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |classes: usize, most: usize| Case::new(MeanIou, &[&[classes, classes]]).labels(0, most).no_gradient();
    // Of few counts some classes have no label; of one, none at all.
    let mut cases = vec![case(1, 9), case(3, 1_000), case(11, 50_000), case(53, 1_000), case(300, 9)];
    cases.push(case(9, 1));
    cases.push(case(2, 2));
    cases.push(case(54, 80_000).real("semantic fpn evaluation"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_without_a_label_are_left_out() {
        // Two classes have labels; the third is only predicted.
        let counts = Array { shape: vec![3, 3], data: vec![6.0, 1.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0] };
        let [iou, mean] = &MeanIou.maths::<f64>(&[&counts])[..] else { panic!("two outputs") };
        assert_eq!(iou.data, [0.6, 4.0 / 7.0, 0.0]);
        assert!((mean.data[0] - (0.6 + 4.0 / 7.0) / 2.0).abs() < 1e-12);
    }
}
