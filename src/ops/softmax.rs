//! Softmax along the last axis, y = exp(x) / sum of exp(x), and its gradient dx = y (dy − sum of dy y).

use serde::{Deserialize, Serialize};

use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Rows;
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// Softmax along the last axis: x[.., C] → y[.., C], each row's sum 1. The largest of a row is taken away first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax;

/// dx = y (dy − sum of dy y): y, dy → dx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftmaxBackward;

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Forward = "softmax/forward" {
        params { rows: u32, columns: u32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Backward = "softmax/backward" {
        params { rows: u32, columns: u32 }
        read { y, dy }
        write { dx }
    }
}

/// How many rows a tensor has whose last axis is a row, and how lanes walk over them.
fn rows_of(io: &Io<'_>) -> (u32, Rows) {
    let shape = &io.inputs[0].shape;
    let elements = shape.last().copied().unwrap_or(1);
    let rows = shape.count() / elements;
    (word(rows), Rows::of(io.machine, io.elem(0), rows, elements))
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [x] if x.shape.is_empty() => Err("takes a tensor with at least one axis".to_owned()),
            [x] if x.elem == Elem::U32 => Err("takes numbers, not indices".to_owned()),
            [x] => Ok(vec![x.clone()]),
            _ => Err("takes one input".to_owned()),
        }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        if inputs[0].shape.len() > 1 { by_image(self, &[0]) } else { None } // else what is summed
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (rows, Rows { columns, variant, grid }) = rows_of(io);
        out.dispatch(&Forward { rows, columns, x: io.input(0), y: io.output(0) }, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(SoftmaxBackward, &[node.outputs[0], dy])?)])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Divide]
    }
}

impl Maths for Softmax {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let mut y = inputs[0].clone();
        let cols = y.shape.last().copied().unwrap_or(1);
        for row in y.data.chunks_exact_mut(cols) {
            let largest = row.iter().copied().fold(row[0], T::max);
            row.iter_mut().for_each(|x| *x = (*x - largest).exp());
            let sum = row.iter().copied().sum::<T>();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        vec![y]
    }
}

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [y, dy] if y == dy && !y.shape.is_empty() => Ok(vec![y.clone()]),
            _ => Err("takes y and dy of one type with at least one axis".to_owned()),
        }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        if inputs[0].shape.len() > 1 { by_image(self, &[0, 1]) } else { None } // else what is summed
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (rows, Rows { columns, variant, grid }) = rows_of(io);
        let (y, dy, dx) = (io.input(0), io.input(1), io.output(0));
        out.dispatch(&Backward { rows, columns, y, dy, dx }, variant, grid);
    }
}

impl Maths for SoftmaxBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let mut dx = Array::zeros(&inputs[0].shape);
        let cols = dx.shape.last().copied().unwrap_or(1);
        let rows = inputs[0].data.chunks_exact(cols).zip(inputs[1].data.chunks_exact(cols));
        for ((y, dy), dx) in rows.zip(dx.data.chunks_exact_mut(cols)) {
            let sum = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum::<T>();
            dx.iter_mut().zip(y.iter().zip(dy)).for_each(|(dx, (&y, &dy))| *dx = y * (dy - sum));
        }
        vec![dx]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Softmax>(
            "softmax",
            "y = exp(x) / Σ exp(x) along the last axis",
            &[],
            [&[("x", "T [.., C]")], &[("y", "T [.., C]")]],
        ),
        Signature::of::<SoftmaxBackward>(
            "softmax_backward",
            "dx = y (dy − Σ dy y)",
            &[],
            [&[("y", "T [.., C]"), ("dy", "T [.., C]")], &[("dx", "T [.., C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 8] = [&[1], &[5, 1], &[3, 2], &[2, 7, 8], &[33, 31], &[127, 3], &[2, 3, 2, 65], &[3, 257]];
    let mut cases: Vec<Case> = shapes.iter().map(|shape| Case::new(Softmax, &[shape])).collect();
    // Longer than what lanes hold at a time, by fours and by ones.
    cases.extend([[2, 4_612], [2, 1_029]].map(|shape| Case::new(Softmax, &[&shape])));
    // Beyond what exp can bear: only distances from the largest may reach it.
    cases.push(Case::new(Softmax, &[&[5, 33]]).draw(0, Draw::Between(-200.0, 200.0)));
    // So far apart that whoever misses the largest meets infinity.
    let far = |shape: &[usize]| Case::new(Softmax, &[shape]).draw(0, Draw::Between(-20_000.0, 20_000.0));
    cases.extend([[9, 129], [17, 12]].map(|shape| far(&shape).no_gradient()));
    cases.push(Case::new(Softmax, &[&[256, 16, 16, 16]]).real("vt-resnet transformer scores"));
    cases.push(Case::new(Softmax, &[&[256, 1000]]).real("imagenet classes"));
    cases
}
