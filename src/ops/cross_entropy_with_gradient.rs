//! Cross entropy and its gradient in one: what a step of training wants of it.

use serde::{Deserialize, Serialize};

use super::cross_entropy::{Mean, rows_and_classes};
use super::{CrossEntropy, CrossEntropyBackward, Entry, Fill};
use crate::graph::{Case, Composition, Draw, Function, Graph, Io, Maths, Op, Signature, Tensor, Value};
use crate::kernel::{Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// logits [N, K], labels `u32 [N]`, perhaps seed `f32 [1]` → loss `f32 [1]`, dlogits [N, K].
///
/// The loss of [`CrossEntropy`] and the gradient of [`CrossEntropyBackward`], which is multiplied with the seed, 1 where there is
/// none; the loss is not. A label of K or more makes the loss NaN, and its row of the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossEntropyWithGradient;

kernel! {
    /// A workgroup a row.
    struct WithGradient = "cross_entropy/with_gradient" {
        params { rows: u32, classes: u32 }
        read { logits, labels, seed }
        write { row_loss, dlogits }
    }
}

impl Op for CrossEntropyWithGradient {
    fn name(&self) -> &'static str {
        "cross_entropy_with_gradient"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (logits, labels, seed) = match inputs {
            [logits, labels] => (logits, labels, None),
            [logits, labels, seed] => (logits, labels, Some(seed)),
            _ => return Err(format!("takes logits, labels and perhaps a seed, not {} inputs", inputs.len())),
        };
        rows_and_classes(logits, labels)?;
        if let Some(seed) = seed.filter(|seed| **seed != Tensor::f32([1])) {
            return Err(format!("the seed must be f32 [1] and is {seed}"));
        }
        Ok(vec![Tensor::f32([1]), logits.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = io.input_dims(0);
        let (lanes, seeded) = (tuning::lanes(io.machine), io.inputs.len() > 2);
        let row_loss = out.scratch(rows);
        out.dispatch(
            &WithGradient {
                rows: word(rows),
                classes: word(classes),
                logits: io.input(0),
                labels: io.input(1),
                seed: io.input(if seeded { 2 } else { 1 }),
                row_loss,
                dlogits: io.output(1),
            },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes).constant("SEEDED", seeded.into()),
            Grid::of(rows),
        );
        out.dispatch(
            &Mean { rows: word(rows), row_loss, loss: io.output(0) },
            Variant::default().constant("WORKGROUP", lanes),
            Grid::of(1),
        );
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[logits, labels, ref seed @ ..] = inputs else {
            return Ok(None); // what is no loss is refused by the op itself
        };
        let outputs = graph.apply(CrossEntropy, &[logits, labels])?;
        let seed = match seed.first() {
            Some(&seed) => seed,
            None => graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?,
        };
        let dlogits = graph.apply_one(CrossEntropyBackward, &[logits, labels, outputs[1], seed])?;
        Ok(Some(vec![Some(outputs[0]), Some(dlogits)]))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log]
    }
}

impl Maths for CrossEntropyWithGradient {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = inputs[0].dims();
        let mut loss = T::default();
        let mut dlogits = Array::zeros(&[rows, classes]);
        for row in 0..rows {
            let logits = &inputs[0].data[row * classes..][..classes];
            let largest = logits.iter().copied().fold(logits[0], T::max);
            let log_sum = largest + logits.iter().map(|&x| (x - largest).exp()).sum::<T>().ln();
            let label = inputs[1].data[row].index();
            loss += logits.get(label).map_or(T::of(f64::NAN), |&x| log_sum - x);
            for (class, (slope, &x)) in dlogits.data[row * classes..].iter_mut().zip(logits).enumerate() {
                let hit = T::of(if label < classes { f64::from(u8::from(class == label)) } else { f64::NAN });
                *slope = ((x - log_sum).exp() - hit) / T::count(rows);
                if let Some(seed) = inputs.get(2) {
                    *slope *= seed.data[0];
                }
            }
        }
        vec![Array { shape: vec![1], data: vec![loss / T::count(rows)] }, dlogits]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<CrossEntropyWithGradient>(
        "cross_entropy_with_gradient",
        "loss = mean over rows (ln Σ exp(logits) − logits at the label), dlogits = seed (softmax(logits) − onehot(labels)) / N",
        &[],
        [
            &[("logits", "T [N, K]"), ("labels", "u32 [N]"), ("seed?", "f32 [1]")],
            &[("loss", "f32 [1]"), ("dlogits", "T [N, K]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let op = CrossEntropyWithGradient;
    let plain =
        |rows: usize, classes: usize| Case::new(op, &[&[rows, classes], &[rows]]).labels(1, classes).no_gradient();
    let seeded = |rows: usize, classes: usize, labels: usize| {
        Case::new(op, &[&[rows, classes], &[rows], &[1]]).labels(1, labels).f32(2).no_gradient()
    };
    let mut cases: Vec<Case> =
        [(1, 1), (1, 2), (31, 33), (2, 1_000), (2, 2_309)].map(|(rows, classes)| plain(rows, classes)).into();
    cases.extend([(3, 10), (257, 3), (2, 300)].map(|(rows, classes)| seeded(rows, classes, classes)));
    // So far apart that whoever misses the largest meets infinity.
    cases.push(plain(33, 300).draw(0, Draw::Between(-20_000.0, 20_000.0)));
    // One label in four is no class: the loss is NaN, and so are just those rows of the gradient.
    cases.push(seeded(31, 3, 4));
    cases.push(seeded(64, 1_000, 1_000).real("resnet50 imagenet loss"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_part_of_a_backward_pass_itself() {
        let mut graph = Graph::new();
        let logits = graph.input("logits", Tensor::f32([2, 3]));
        let labels = graph.input("labels", Tensor::new([2], crate::kernel::Elem::U32));
        let both = graph.apply(CrossEntropyWithGradient, &[logits, labels]).expect("they fit");
        let seed = graph.input("seed", Tensor::f32([1]));
        let refused = crate::ops::gradients(&mut graph, &[(both[0], seed)], &[logits]).expect_err("a gradient");
        assert!(refused.to_string().contains("part of a backward pass"), "{refused}");
        for inputs in [&[logits][..], &[logits, labels, logits], &[logits, labels, seed, seed]] {
            assert!(graph.apply(CrossEntropyWithGradient, inputs).is_err(), "{inputs:?}");
        }
    }
}
