//! Cross entropy and its gradient in one: what a step of training wants of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cross_entropy::{IGNORE, check, dims, log_of_sum, loss_of, rows_and_classes, slope_of};
use super::cross_entropy_mean::{Counted, counted};
use super::cross_entropy_smoothing::{SMOOTHING, check_smoothing, is_unsmoothed, say, smoothed};
use super::{CrossEntropy, CrossEntropyBackward, Entry, Fill};
use crate::graph::{Case, Composition, Draw, Function, Graph, Io, Maths, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Rows;
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// logits [.., K], labels `u32 [..]`, perhaps seed `f32 [1]` → loss `f32 [1]`, dlogits [.., K].
///
/// The loss of [`CrossEntropy`] and the gradient of [`CrossEntropyBackward`], which is multiplied with the seed, 1 where there is
/// none; the loss is not. A label of K or more that is not to be ignored makes the loss NaN, and its row of the gradient.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropyWithGradient {
    /// The label of rows that do not count.
    pub ignore: Option<u32>,
    /// How much of the label is given to all classes alike, from 0 (nothing) to 1 ([`CrossEntropy::smoothing`]).
    #[serde(default, skip_serializing_if = "is_unsmoothed")]
    pub smoothing: f64,
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct WithGradient = "cross_entropy/with_gradient" {
        params { rows: u32, columns: u32, classes: u32, ignored: u32 }
        read { logits, labels, counted, seed }
        write { row_loss, dlogits }
    }
}

impl fmt::Debug for CrossEntropyWithGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        say(f, "CrossEntropyWithGradient", self.ignore, self.smoothing)
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
        check(logits, labels)?;
        check_smoothing(self.smoothing)?;
        if let Some(seed) = seed.filter(|seed| **seed != Tensor::f32([1])) {
            return Err(format!("the seed must be f32 [1] and is {seed}"));
        }
        Ok(vec![Tensor::f32([1]), logits.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let seeded = io.inputs.len() > 2;
        let counted = Counted::record(io, self.ignore, io.input(1), out);
        let row_loss = out.scratch(rows);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, classes);
        out.dispatch(
            &WithGradient {
                rows: word(rows),
                columns,
                classes: word(classes),
                ignored: self.ignore.unwrap_or_default(),
                logits: io.input(0),
                labels: io.input(1),
                counted: counted.or(io.input(1)),
                seed: io.input(if seeded { 2 } else { 1 }),
                row_loss,
                dlogits: io.output(1),
            },
            smoothed(counted.build(variant), self.smoothing).constant("SEEDED", seeded.into()),
            grid,
        );
        counted.mean(io, row_loss, io.output(0), out);
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[logits, labels, ref seed @ ..] = inputs else {
            return Ok(None); // what is no loss is refused by the op itself
        };
        let Self { ignore, smoothing } = *self;
        let outputs = graph.apply(CrossEntropy { ignore, smoothing }, &[logits, labels])?;
        let seed = match seed.first() {
            Some(&seed) => seed,
            None => graph.apply_one(Fill { value: 1.0, tensor: Tensor::f32([1]) }, &[])?,
        };
        let dlogits =
            graph.apply_one(CrossEntropyBackward { ignore, smoothing }, &[logits, labels, outputs[1], seed])?;
        Ok(Some(vec![Some(outputs[0]), Some(dlogits)]))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log]
    }
}

impl Maths for CrossEntropyWithGradient {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = dims(inputs[0]);
        let counted: T = counted(inputs[1], self.ignore);
        let mut loss = T::default();
        let mut dlogits = Array::zeros(&inputs[0].shape);
        for row in 0..rows {
            let logits = &inputs[0].data[row * classes..][..classes];
            let (log_sum, label) = (log_of_sum(logits), inputs[1].data[row].index());
            loss += loss_of(logits, (log_sum, label), (self.ignore, self.smoothing));
            for (class, (slope, &x)) in dlogits.data[row * classes..].iter_mut().zip(logits).enumerate() {
                *slope = slope_of(x, log_sum, [class, label, classes], (self.ignore, self.smoothing)) / counted;
                if let Some(seed) = inputs.get(2) {
                    *slope *= seed.data[0];
                }
            }
        }
        vec![Array { shape: vec![1], data: vec![loss / counted] }, dlogits]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<CrossEntropyWithGradient>(
        "cross_entropy_with_gradient",
        "loss = mean over the rows that count ((1 − e) (ln Σ exp(logits) − logits at the label) + e mean(ln Σ exp(logits) − logits)), dlogits = seed (softmax(logits) − (1 − e) onehot(labels) − e / K) / n, n the rows that count; 0 of the others",
        &[IGNORE, SMOOTHING],
        [
            &[("logits", "T [.., K]"), ("labels", "u32 [..]"), ("seed?", "f32 [1]")],
            &[("loss", "f32 [1]"), ("dlogits", "T [.., K]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let of = |rows: &[usize], classes: usize, ignore| {
        let shapes = [&[rows, &[classes]].concat(), rows];
        Case::new(CrossEntropyWithGradient { ignore, smoothing: 0.0 }, &shapes).labels(1, classes).no_gradient()
    };
    let seeded_of = |rows: &[usize], classes: usize, ignore| {
        let shapes = [&[rows, &[classes]].concat(), rows, &[1]];
        Case::new(CrossEntropyWithGradient { ignore, smoothing: 0.0 }, &shapes).labels(1, classes).f32(2).no_gradient()
    };
    let plain = |rows: usize, classes: usize| of(&[rows], classes, None);
    let seeded = |rows: usize, classes: usize| seeded_of(&[rows], classes, None);
    let mut cases: Vec<Case> =
        [(1, 1), (1, 2), (31, 33), (2, 1_000), (2, 2_309)].map(|(rows, classes)| plain(rows, classes)).into();
    cases.extend([(3, 10), (257, 3), (2, 300)].map(|(rows, classes)| seeded(rows, classes)));
    // So far apart that whoever misses the largest meets infinity.
    cases.extend(
        [(33, 300), (16, 2_309)]
            .map(|(rows, classes)| plain(rows, classes).draw(0, Draw::Between(-20_000.0, 20_000.0))),
    );
    // One label in four is no class: the loss is NaN, and so are just those rows of the gradient.
    cases.push(seeded(31, 3).labels(1, 4));
    // Pixels, of which some, then all are ignored.
    cases.extend([of(&[2, 5, 3], 4, Some(1)), seeded_of(&[3, 61, 47], 3, Some(3)).labels(1, 4)]);
    cases.push(seeded_of(&[7], 2, Some(0)).labels(1, 1));
    // Smoothed labels: of one class, rows that one lane holds or several hold or none, ignored rows, logits far apart.
    let smoothed = |rows: &[usize], classes: usize, ignore, smoothing| {
        let shapes = [&[rows, &[classes]].concat(), rows];
        Case::new(CrossEntropyWithGradient { ignore, smoothing }, &shapes).labels(1, classes).no_gradient()
    };
    cases.extend(
        [(3, 1), (31, 33), (2, 1_000), (2, 2_309)].map(|(rows, classes)| smoothed(&[rows], classes, None, 0.1)),
    );
    cases.extend([smoothed(&[2, 3, 5], 3, Some(3), 0.1).labels(1, 4), smoothed(&[5], 7, None, 1.0)]);
    cases.push(smoothed(&[33], 300, None, 0.1).draw(0, Draw::Between(-20_000.0, 20_000.0)));
    cases.push(smoothed(&[29], 3, None, 0.1).labels(1, 4));
    cases.push(seeded(64, 1_000).real("resnet50 imagenet loss"));
    cases.push(seeded_of(&[4, 800, 1216], 54, Some(255)).real("semantic fpn loss"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    const OP: CrossEntropyWithGradient = CrossEntropyWithGradient { ignore: None, smoothing: 0.0 };

    #[test]
    fn it_is_a_part_of_a_backward_pass_itself() {
        let mut graph = Graph::new();
        let logits = graph.input("logits", Tensor::f32([2, 3]));
        let labels = graph.input("labels", Tensor::new([2], crate::kernel::Elem::U32));
        let both = graph.apply(OP, &[logits, labels]).expect("they fit");
        let seed = graph.input("seed", Tensor::f32([1]));
        let refused = crate::ops::gradients(&mut graph, &[(both[0], seed)], &[logits]).expect_err("a gradient");
        assert!(refused.to_string().contains("part of a backward pass"), "{refused}");
        for inputs in [&[logits][..], &[logits, labels, logits], &[logits, labels, seed, seed]] {
            assert!(graph.apply(OP, inputs).is_err(), "{inputs:?}");
        }
    }
}
