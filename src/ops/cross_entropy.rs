//! Cross entropy of logits with whole-number labels, averaged over rows, and its gradient.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// logits [N, K], labels `u32 [N]` → loss `f32 [1]`, log_sum `f32 [N]`.
///
/// log_sum = ln Σ_k exp(logits_k); loss = Σ_rows (log_sum − logits_label) / N. Gradients flow from the loss alone;
/// log_sum is kept for the backward pass. A label of K or more makes the loss NaN, and its row of the gradient, so that
/// it is seen; nothing out of bounds is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossEntropy;

/// logits [N, K], labels `u32 [N]`, log_sum `f32 [N]`, dloss `f32 [1]` → dlogits [N, K].
///
/// dlogits = dloss (exp(logits − log_sum) − onehot(labels)) / N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossEntropyBackward;

kernel! {
    /// A workgroup a row.
    struct Forward = "cross_entropy/forward" {
        params { rows: u32, classes: u32 }
        read { logits, labels }
        write { row_loss, log_sum }
    }
}

kernel! {
    /// One workgroup.
    pub(super) struct Mean = "cross_entropy/mean" {
        params { rows: u32 }
        read { row_loss }
        write { loss }
    }
}

kernel! {
    /// One lane an element.
    struct Backward = "cross_entropy/backward" {
        params { rows: u32, classes: u32 }
        read { logits, labels, log_sum, dloss }
        write { dlogits }
    }
}

/// Rows and classes of logits, once they and the labels are what both ops need.
pub(super) fn rows_and_classes(logits: &Tensor, labels: &Tensor) -> Result<[usize; 2], String> {
    let Some([rows, classes]) = logits.shape.rank() else {
        return Err(format!("logits must be [rows, classes] and are {}", logits.shape));
    };
    if logits.elem == Elem::U32 {
        return Err("logits must be f32 or f16, not u32".to_owned());
    }
    let wants = Tensor::new([rows], Elem::U32);
    if *labels != wants {
        return Err(format!("labels must be {wants}, one a row of logits, and are {labels}"));
    }
    Ok([rows, classes])
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [logits, labels] = inputs else { return Err(format!("takes logits and labels, not {}", inputs.len())) };
        let [rows, _] = rows_and_classes(logits, labels)?;
        Ok(vec![Tensor::f32([1]), Tensor::f32([rows])])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = io.input_dims(0);
        let lanes = tuning::lanes(io.machine);
        let row_loss = out.scratch(rows);
        out.dispatch(
            &Forward {
                rows: word(rows),
                classes: word(classes),
                logits: io.input(0),
                labels: io.input(1),
                row_loss,
                log_sum: io.output(1),
            },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
            Grid::of(rows),
        );
        out.dispatch(
            &Mean { rows: word(rows), row_loss, loss: io.output(0) },
            Variant::default().constant("WORKGROUP", lanes),
            Grid::of(1),
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dloss) = grads[0] else { return Ok(vec![None, None]) };
        let inputs = [node.inputs[0], node.inputs[1], node.outputs[1], dloss];
        Ok(vec![Some(graph.apply_one(CrossEntropyBackward, &inputs)?), None])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Log]
    }
}

impl Maths for CrossEntropy {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [rows, classes] = inputs[0].dims();
        let mut loss = T::default();
        let mut log_sum = Array::zeros(&[rows]);
        for row in 0..rows {
            let logits = &inputs[0].data[row * classes..][..classes];
            let largest = logits.iter().copied().fold(logits[0], T::max);
            log_sum.data[row] = largest + logits.iter().map(|&x| (x - largest).exp()).sum::<T>().ln();
            let label = inputs[1].data[row].index();
            loss += logits.get(label).map_or(T::of(f64::NAN), |&x| log_sum.data[row] - x);
        }
        vec![Array { shape: vec![1], data: vec![loss / T::count(rows)] }, log_sum]
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
        let [rows, _] = rows_and_classes(logits, labels)?;
        if *log_sum != Tensor::f32([rows]) || *dloss != Tensor::f32([1]) {
            return Err(format!("log_sum must be f32 [{rows}] and dloss f32 [1]"));
        }
        Ok(vec![logits.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, classes] = io.input_dims(0);
        let lanes = tuning::lanes(io.machine);
        out.dispatch(
            &Backward {
                rows: word(rows),
                classes: word(classes),
                logits: io.input(0),
                labels: io.input(1),
                log_sum: io.input(2),
                dloss: io.input(3),
                dlogits: io.output(0),
            },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
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
        let [rows, classes] = logits.dims();
        vec![Array::from_fn(&[rows, classes], |at| {
            let (row, class) = (at / classes, at % classes);
            let label = labels.data[row].index();
            if label >= classes {
                return T::of(f64::NAN);
            }
            let hit = T::of(f64::from(u8::from(class == label)));
            dloss.data[0] * ((logits.data[at] - log_sum.data[row]).exp() - hit) / T::count(rows)
        })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<CrossEntropy>(
            "cross_entropy",
            "log_sum = ln Σ exp(logits), loss = mean over rows (log_sum − logits at the label)",
            &[],
            [&[("logits", "T [N, K]"), ("labels", "u32 [N]")], &[("loss", "f32 [1]"), ("log_sum", "f32 [N]")]],
        ),
        Signature::of::<CrossEntropyBackward>(
            "cross_entropy_backward",
            "dlogits = dloss (exp(logits − log_sum) − onehot(labels)) / N",
            &[],
            [
                &[("logits", "T [N, K]"), ("labels", "u32 [N]"), ("log_sum", "f32 [N]"), ("dloss", "f32 [1]")],
                &[("dlogits", "T [N, K]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |rows: usize, classes: usize| Case::new(CrossEntropy, &[&[rows, classes], &[rows]]).labels(1, classes);
    let mut cases: Vec<Case> = [(1, 1), (1, 2), (3, 10), (31, 33), (257, 3), (2, 1_000), (2, 2_309)]
        .map(|(rows, classes)| case(rows, classes))
        .into();
    // So far apart that whoever misses the largest meets infinity.
    cases.push(case(33, 300).draw(0, Draw::Between(-20_000.0, 20_000.0)).no_gradient());
    // One label in four is no class: the loss is NaN, and so are just those rows of the gradient.
    cases.push(Case::new(CrossEntropy, &[&[31, 3], &[31]]).labels(1, 4).no_gradient());
    let backward = Case::new(CrossEntropyBackward, &[&[31, 3], &[31], &[31], &[1]]);
    cases.push(backward.labels(1, 4).f32(2).draw(2, Draw::Between(1.0, 3.0)).f32(3).no_gradient());
    cases.push(case(64, 1_000).real("resnet50 imagenet loss"));
    cases.push(case(2, 100_000).real("a vocabulary"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_class_is_seen_and_stays_in_its_row() {
        let logits = Array::<f64>::from_fn(&[2, 3], |at| at as f64);
        let labels = Array { shape: vec![2], data: vec![1.0, 3.0] };
        let [loss, log_sum] = &CrossEntropy.maths(&[&logits, &labels])[..] else { panic!("two outputs") };
        assert!(loss.data[0].is_nan() && log_sum.data.iter().all(|sum| sum.is_finite()));
        let dloss = Array { shape: vec![1], data: vec![1.0] };
        let slope = &CrossEntropyBackward.maths(&[&logits, &labels, log_sum, &dloss])[0].data;
        assert!(slope[..3].iter().all(|x| x.is_finite()) && slope[3..].iter().all(|x| x.is_nan()));
    }
}
