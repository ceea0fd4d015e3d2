//! Cross entropy of logits with whole-number labels, averaged over rows, and its gradient.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Entry;
use super::cross_entropy_mean::{Counted, counted, is_ignored};
use super::cross_entropy_smoothing::{SMOOTHING, check_smoothing, is_unsmoothed, say, smoothed};
use crate::graph::{Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::{self, Rows};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// logits [.., K], labels `u32 [..]` → loss `f32 [1]`, log_sum `f32 [..]`.
///
/// log_sum = ln Σ_k exp(logits_k); loss = Σ ((1 − e) (log_sum − logits_label) + e mean_k(log_sum − logits_k)) / n, e the smoothing, over the n rows (images, pixels) whose label is not to be
/// ignored; where there is none, 0. Gradients flow from the loss alone; log_sum is kept for the backward pass. Any other label of K or
/// more makes the loss NaN, and its row of the gradient, so that it is seen; nothing out of bounds is read.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropy {
    /// The label of rows that do not count.
    pub ignore: Option<u32>,
    /// How much of the label is given to all classes alike, from 0 (nothing, which is left out of JSON) to 1; Szegedy et al. 2016.
    #[serde(default, skip_serializing_if = "is_unsmoothed")]
    pub smoothing: f64,
}

/// logits [.., K], labels `u32 [..]`, log_sum `f32 [..]`, dloss `f32 [1]` → dlogits [.., K].
///
/// dlogits = dloss (exp(logits − log_sum) − (1 − e) onehot(labels) − e / K) / n, e the smoothing, n the rows that count; of the others 0.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropyBackward {
    /// The label of rows that do not count.
    pub ignore: Option<u32>,
    /// How much of the label is given to all classes alike, from 0 (nothing) to 1 ([`CrossEntropy::smoothing`]).
    #[serde(default, skip_serializing_if = "is_unsmoothed")]
    pub smoothing: f64,
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Forward = "cross_entropy/forward" {
        params { rows: u32, columns: u32, classes: u32, ignored: u32 }
        read { logits, labels }
        write { row_loss, log_sum }
    }
}

kernel! {
    /// One lane an element.
    struct Backward = "cross_entropy/backward" {
        params { rows: u32, classes: u32, ignored: u32 }
        read { logits, labels, counted, log_sum, dloss }
        write { dlogits }
    }
}

/// What the labels of such logits are.
pub(super) fn labels_of(logits: &Tensor) -> Result<Tensor, String> {
    match &logits.shape[..] {
        [leading @ .., classes] if !leading.is_empty() && *classes > 0 && logits.elem != Elem::U32 => {
            Ok(Tensor::new(leading.to_vec(), Elem::U32))
        }
        _ => Err(format!("logits must be f32 or f16 [.., classes] with an axis of rows, and are {logits}")),
    }
}

/// That logits and labels are what all ops here need.
pub(super) fn check(logits: &Tensor, labels: &Tensor) -> Result<(), String> {
    let wants = labels_of(logits)?;
    match *labels == wants {
        true => Ok(()),
        false => Err(format!("labels must be {wants}, one a row of logits, and are {labels}")),
    }
}

/// Rows and classes of an op's logits, its first input.
pub(super) fn rows_and_classes(io: &Io<'_>) -> [usize; 2] {
    let logits = &io.inputs[0].shape;
    let classes = logits.last().copied().unwrap_or(1);
    [logits.count() / classes, classes]
}

/// The same of an array.
pub(super) fn dims<T: Real>(logits: &Array<T>) -> [usize; 2] {
    let classes = logits.shape.last().copied().unwrap_or(1);
    [logits.data.len() / classes, classes]
}

impl fmt::Debug for CrossEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        say(f, "CrossEntropy", self.ignore, self.smoothing)
    }
}

impl fmt::Debug for CrossEntropyBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        say(f, "CrossEntropyBackward", self.ignore, self.smoothing)
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [logits, labels] = inputs else { return Err(format!("takes logits and labels, not {}", inputs.len())) };
        check(logits, labels)?;
        check_smoothing(self.smoothing)?;
        Ok(vec![Tensor::f32([1]), Tensor::f32(labels.shape.clone())])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let counted = Counted::record(io, self.ignore, io.input(1), out);
        let row_loss = out.scratch(rows);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, classes);
        out.dispatch(
            &Forward {
                rows: word(rows),
                columns,
                classes: word(classes),
                ignored: self.ignore.unwrap_or_default(),
                logits: io.input(0),
                labels: io.input(1),
                row_loss,
                log_sum: io.output(1),
            },
            smoothed(counted.build(variant), self.smoothing),
            grid,
        );
        counted.mean(io, row_loss, io.output(0), out);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dloss) = grads[0] else { return Ok(vec![None, None]) };
        let Self { ignore, smoothing } = *self;
        let inputs = [node.inputs[0], node.inputs[1], node.outputs[1], dloss];
        Ok(vec![Some(graph.apply_one(CrossEntropyBackward { ignore, smoothing }, &inputs)?), None])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log]
    }
}

impl Maths for CrossEntropy {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = dims(inputs[0]);
        let mut loss = T::default();
        let mut log_sum = Array::zeros(&inputs[1].shape);
        for row in 0..rows {
            let logits = &inputs[0].data[row * classes..][..classes];
            log_sum.data[row] = log_of_sum(logits);
            loss += loss_of(logits, (log_sum.data[row], inputs[1].data[row].index()), (self.ignore, self.smoothing));
        }
        vec![Array { shape: vec![1], data: vec![loss / counted(inputs[1], self.ignore)] }, log_sum]
    }
}

/// ln Σ exp(logits) of a row.
pub(super) fn log_of_sum<T: Real>(logits: &[T]) -> T {
    let largest = logits.iter().copied().fold(logits[0], T::max);
    largest + logits.iter().map(|&x| (x - largest).exp()).sum::<T>().ln()
}

/// What a row loses.
pub(super) fn loss_of<T: Real>(
    logits: &[T],
    (log_sum, label): (T, usize),
    (ignore, smoothing): (Option<u32>, f64),
) -> T {
    let Some(&x) = logits.get(label) else {
        return T::of(if is_ignored(label, ignore) { 0.0 } else { f64::NAN });
    };
    match smoothing {
        _ if is_ignored(label, ignore) => T::default(),
        0.0 => log_sum - x,
        _ => {
            let mean = logits.iter().map(|&x| log_sum - x).sum::<T>() / T::count(logits.len());
            T::of(1.0 - smoothing) * (log_sum - x) + T::of(smoothing) * mean
        }
    }
}

/// exp(logits − log_sum) − (1 − e) onehot(label) − e / K at a class of a row, e the smoothing, without what it is to be divided by.
pub(super) fn slope_of<T: Real>(
    x: T,
    log_sum: T,
    [class, label, classes]: [usize; 3],
    (ignore, smoothing): (Option<u32>, f64),
) -> T {
    let share = smoothing / classes as f64;
    match label {
        _ if is_ignored(label, ignore) => T::default(),
        _ if label >= classes => T::of(f64::NAN),
        _ => (x - log_sum).exp() - T::of(if class == label { 1.0 - smoothing + share } else { share }),
    }
}

impl Op for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [logits, labels, log_sum, dloss] = inputs else {
            return Err(format!("takes logits, labels, log_sum and dloss, not {} inputs", inputs.len()));
        };
        check(logits, labels)?;
        check_smoothing(self.smoothing)?;
        if *log_sum != Tensor::f32(labels.shape.clone()) || *dloss != Tensor::f32([1]) {
            return Err(format!("log_sum must be f32 {} and dloss f32 [1]", labels.shape));
        }
        Ok(vec![logits.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = rows_and_classes(io);
        let lanes = tuning::lanes(io.machine);
        let counted = Counted::record(io, self.ignore, io.input(1), out);
        out.dispatch(
            &Backward {
                rows: word(rows),
                classes: word(classes),
                ignored: self.ignore.unwrap_or_default(),
                logits: io.input(0),
                labels: io.input(1),
                counted: counted.or(io.input(1)),
                log_sum: io.input(2),
                dloss: io.input(3),
                dlogits: io.output(0),
            },
            smoothed(counted.build(Variant::of(io.elem(0))), self.smoothing).constant("WORKGROUP", lanes),
            Grid::over(rows * classes, lanes as usize),
        );
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp]
    }
}

impl Maths for CrossEntropyBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[logits, labels, log_sum, dloss] = inputs else { return Vec::new() };
        let [_, classes] = dims(logits);
        let counted = counted(labels, self.ignore);
        vec![Array::from_fn(&logits.shape, |at| {
            let row = at / classes;
            let place = [at % classes, labels.data[row].index(), classes];
            dloss.data[0] * slope_of(logits.data[at], log_sum.data[row], place, (self.ignore, self.smoothing)) / counted
        })]
    }
}

/// Attribute of these ops.
pub(super) const IGNORE: (&str, &str) = ("ignore", "the label of rows that do not count, or null");
pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<CrossEntropy>(
            "cross_entropy",
            "log_sum = ln Σ exp(logits), loss = mean over the rows that count ((1 − e) (log_sum − logits at the label) + e mean(log_sum − logits)), 0 without any",
            &[IGNORE, SMOOTHING],
            [&[("logits", "T [.., K]"), ("labels", "u32 [..]")], &[("loss", "f32 [1]"), ("log_sum", "f32 [..]")]],
        ),
        Signature::of::<CrossEntropyBackward>(
            "cross_entropy_backward",
            "dlogits = dloss (exp(logits − log_sum) − (1 − e) onehot(labels) − e / K) / n, n the rows that count; 0 of the others",
            &[IGNORE, SMOOTHING],
            [
                &[("logits", "T [.., K]"), ("labels", "u32 [..]"), ("log_sum", "f32 [..]"), ("dloss", "f32 [1]")],
                &[("dlogits", "T [.., K]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let of = |rows: &[usize], classes: usize, ignore| {
        Case::new(CrossEntropy { ignore, ..CrossEntropy::default() }, &[&[rows, &[classes]].concat(), rows])
            .labels(1, classes)
    };
    let case = |rows: usize, classes: usize| of(&[rows], classes, None);
    let mut cases: Vec<Case> = [(1, 1), (1, 2), (3, 10), (31, 33), (257, 3), (2, 1_000), (2, 2_309)]
        .map(|(rows, classes)| case(rows, classes))
        .into();
    // So far apart that whoever misses the largest meets infinity.
    let apart = |rows, classes| case(rows, classes).draw(0, Draw::Between(-20_000.0, 20_000.0)).no_gradient();
    cases.extend([apart(33, 300), apart(16, 2_309)]);
    // One label in four is no class: the loss is NaN, and so are just those rows of the gradient.
    cases.push(case(31, 3).labels(1, 4).no_gradient());
    let backward = |(ignore, smoothing)| {
        let op = CrossEntropyBackward { ignore, smoothing };
        let case = Case::new(op, &[&[31, 3], &[31], &[31], &[1]]).labels(1, 4);
        case.f32(2).draw(2, Draw::Between(1.0, 3.0)).f32(3).no_gradient()
    };
    cases.extend([(None, 0.0), (Some(3), 0.0), (Some(2), 0.0), (None, 0.1), (Some(2), 0.1)].map(backward));
    // Pixels. One label in four, a class or none, is ignored; then all of them are; rows enough for several workgroups to count.
    cases.extend([of(&[2, 3, 5], 7, None), of(&[2, 3, 5], 3, Some(3)).labels(1, 4), of(&[3, 31], 4, Some(1))]);
    cases.extend([of(&[7], 2, Some(0)).labels(1, 1), of(&[1], 5, Some(9))]);
    cases.extend([None, Some(255)].map(|ignore| of(&[2, 75, 61], 3, ignore)));
    cases.push(of(&[3, 71, 43], 5, Some(4)).no_gradient());
    // Smoothed labels: of one class, rows that one lane holds or several hold or none, ignored rows, logits far apart.
    let smoothed = |rows: &[usize], classes: usize, ignore, smoothing| {
        Case::new(CrossEntropy { ignore, smoothing }, &[&[rows, &[classes]].concat(), rows]).labels(1, classes)
    };
    cases.extend(
        [(3, 1), (31, 33), (2, 1_000), (2, 2_309)].map(|(rows, classes)| smoothed(&[rows], classes, None, 0.1)),
    );
    cases.extend([smoothed(&[2, 3, 5], 3, Some(3), 0.1).labels(1, 4), smoothed(&[5], 7, None, 1.0)]);
    cases.push(smoothed(&[33], 300, None, 0.1).draw(0, Draw::Between(-20_000.0, 20_000.0)).no_gradient());
    cases.push(smoothed(&[29], 3, None, 0.1).labels(1, 4).no_gradient());
    cases.push(case(64, 1_000).real("resnet50 imagenet loss"));
    cases.push(case(2, 100_000).real("a vocabulary"));
    cases.push(of(&[4, 800, 1216], 54, Some(255)).real("semantic fpn loss"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_class_is_seen_and_stays_in_its_row() {
        let logits = Array::<f64>::from_fn(&[2, 3], |at| at as f64);
        let labels = Array { shape: vec![2], data: vec![1.0, 3.0] };
        let dloss = Array { shape: vec![1], data: vec![1.0] };
        let both = |ignore| {
            let [loss, log_sum] = &CrossEntropy { ignore, smoothing: 0.0 }.maths(&[&logits, &labels])[..] else {
                panic!("two outputs")
            };
            assert!(log_sum.data.iter().all(|sum| sum.is_finite()));
            let slopes = CrossEntropyBackward { ignore, smoothing: 0.0 }.maths(&[&logits, &labels, log_sum, &dloss])[0]
                .data
                .clone();
            (loss.data[0], slopes)
        };
        let (loss, slopes) = both(None);
        assert!(loss.is_nan() && slopes[..3].iter().all(|x| x.is_finite()) && slopes[3..].iter().all(|x| x.is_nan()));
        // Ignored it is not seen, and the other row counts alone.
        let (loss, slopes) = both(Some(3));
        let expected = (1.0 + (-1f64).exp() + 1f64.exp()).ln();
        assert!((loss - expected).abs() < 1e-12 && slopes[3..] == [0.0; 3], "{loss} {slopes:?}");
    }

    #[test]
    fn labels_of_another_shape_are_refused() {
        let tensors = |logits: &[usize], labels: &[usize]| {
            [Tensor::f32(logits.to_vec()), Tensor::new(labels.to_vec(), Elem::U32)]
        };
        let outputs = |tensors: [Tensor; 2]| CrossEntropy::default().outputs(&tensors);
        assert!(outputs(tensors(&[2, 4, 5, 3], &[2, 4, 5])).is_ok());
        for (logits, labels) in [(&[2, 4, 5, 3][..], &[2, 5, 4][..]), (&[3], &[]), (&[6, 3], &[6, 3])] {
            assert!(outputs(tensors(logits, labels)).is_err_and(|problem| problem.contains("must be")));
        }
    }

    #[test]
    fn smoothing_is_a_share_and_unsaid_where_there_is_none() {
        let tensors = [Tensor::f32([2, 3]), Tensor::new([2], Elem::U32)];
        for smoothing in [-0.1, 1.1, f64::NAN] {
            let refused = CrossEntropy { ignore: None, smoothing }.outputs(&tensors);
            assert!(refused.is_err_and(|problem| problem.contains("from 0 to 1")), "{smoothing}");
        }
        let json = |op: CrossEntropy| serde_json::to_string(&op).expect("numbers");
        assert_eq!(json(CrossEntropy::default()), r#"{"ignore":null}"#);
        assert_eq!(json(CrossEntropy { smoothing: 0.1, ..Default::default() }), r#"{"ignore":null,"smoothing":0.1}"#);
    }
}
