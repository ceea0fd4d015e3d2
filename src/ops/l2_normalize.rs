//! Rows as unit vectors, y = x / max(|x|, eps), and the gradient.

use serde::{Deserialize, Serialize};

use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Rows;
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// x [.., C] → y [.., C] = x / max(|x|, eps), where |x| is the Euclidean norm of a row: PyTorch's `F.normalize` over the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct L2Normalize {
    /// The least that a row is divided by, above 0. PyTorch takes 1e-12.
    pub eps: f64,
}

/// x, dy [.., C] → dx [.., C] = (dy − y Σ y dy) / |x| with y = x / |x|; where |x| is below eps, dx = dy / eps. The norm is taken again
/// from x, which is read anyway.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct L2NormalizeBackward {
    /// As the forward op has it.
    pub eps: f64,
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Forward = "l2_normalize/forward" {
        params { rows: u32, columns: u32, eps: f32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Backward = "l2_normalize/backward" {
        params { rows: u32, columns: u32, elements: u32, eps: f32 }
        read { x, dy }
        write { dx }
    }
}

/// Rows and columns of a tensor whose last axis is a row.
fn rows_of(tensor: &Tensor) -> [usize; 2] {
    let columns = tensor.shape.last().copied().unwrap_or(1);
    [tensor.shape.count() / columns, columns]
}

fn check(x: &Tensor, eps: f64) -> Result<(), String> {
    if x.shape.last().is_none_or(|&columns| columns == 0) {
        return Err(format!("x must have rows, its last axis, and is {}", x.shape));
    }
    if x.elem == Elem::U32 {
        return Err("x must be f32 or f16, not u32".to_owned());
    }
    // Written so that NaN is refused.
    if eps > 0.0 { Ok(()) } else { Err(format!("eps must be above 0 and is {eps}: a row of zeros is divided by it")) }
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        check(x, self.eps)?;
        Ok(vec![x.clone()])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        if inputs[0].shape.len() > 1 { by_image(self, &[0]) } else { None } // else what is summed
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, elements] = rows_of(&io.inputs[0]);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, elements);
        let eps = self.eps as f32;
        out.dispatch(&Forward { rows: word(rows), columns, eps, x: io.input(0), y: io.output(0) }, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(L2NormalizeBackward { eps: self.eps }, &[node.inputs[0], dy])?)])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

fn norm<T: Real>(row: &[T]) -> T {
    row.iter().map(|&x| x * x).sum::<T>().sqrt()
}

impl Maths for L2Normalize {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let mut y = inputs[0].clone();
        let columns = y.shape.last().copied().unwrap_or(1);
        for row in y.data.chunks_exact_mut(columns) {
            let norm = T::max(norm(row), T::of(self.eps));
            row.iter_mut().for_each(|x| *x /= norm);
        }
        vec![y]
    }
}

impl Op for L2NormalizeBackward {
    fn name(&self) -> &'static str {
        "l2_normalize_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, dy] = inputs else { return Err(format!("takes x and dy, not {} inputs", inputs.len())) };
        check(x, self.eps)?;
        if x == dy { Ok(vec![x.clone()]) } else { Err(format!("dy must be {x} as x and is {dy}")) }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        if inputs[0].shape.len() > 1 { by_image(self, &[0, 1]) } else { None } // else what is summed
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, elements] = rows_of(&io.inputs[0]);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, elements);
        let (x, dy, dx) = (io.input(0), io.input(1), io.output(0));
        let (rows, elements, eps) = (word(rows), word(elements), self.eps as f32);
        out.dispatch(&Backward { rows, columns, elements, eps, x, dy, dx }, variant, grid);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for L2NormalizeBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let mut dx = Array::zeros(&inputs[0].shape);
        let columns = dx.shape.last().copied().unwrap_or(1);
        let rows = inputs[0].data.chunks_exact(columns).zip(inputs[1].data.chunks_exact(columns));
        for ((x, dy), dx) in rows.zip(dx.data.chunks_exact_mut(columns)) {
            let norm = norm(x);
            if norm < T::of(self.eps) {
                dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx = dy / T::of(self.eps));
                continue;
            }
            let sum = x.iter().zip(dy).map(|(&x, &dy)| x / norm * dy).sum::<T>();
            dx.iter_mut().zip(x.iter().zip(dy)).for_each(|(dx, (&x, &dy))| *dx = (dy - x / norm * sum) / norm);
        }
        vec![dx]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<L2Normalize>(
            "l2_normalize",
            "y = x / max(|x|, eps), row by row, |x| the Euclidean norm",
            &[("eps", "a number above 0, the least that a row is divided by")],
            [&[("x", "T [.., C]")], &[("y", "T [.., C]")]],
        ),
        Signature::of::<L2NormalizeBackward>(
            "l2_normalize_backward",
            "dx = (dy − y Σ y dy) / |x|, y = x / |x|; where |x| is below eps, dx = dy / eps",
            &[("eps", "a number above 0, the least that a row is divided by")],
            [&[("x", "T [.., C]"), ("dy", "T [.., C]")], &[("dx", "T [.., C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |eps: f64, shape: &[usize]| Case::new(L2Normalize { eps }, &[shape]);
    let shapes: [&[usize]; 9] =
        [&[3], &[3, 2], &[2, 7, 8], &[33, 31], &[127, 3], &[2, 3, 2, 65], &[1, 257], &[3, 1028], &[5, 16]];
    let mut cases: Vec<Case> = shapes.iter().map(|shape| case(1e-12, shape)).collect();
    // About half of the rows are shorter than eps.
    cases.extend([case(1.8, &[33, 3]), case(2.8, &[31, 8])]);
    // A row of one is its sign, and moves only below eps.
    cases.extend([case(1e-12, &[31, 1]), case(0.7, &[33, 1])]);
    // Such rows are not divided by what they are.
    cases.push(case(0.5, &[33, 5]).draw(0, Draw::Between(0.0, 0.0)));
    cases.push(case(1e-12, &[256, 196, 256]).real("pixels as unit vectors, 14x14"));
    cases.push(case(1e-12, &[256, 16, 1024]).real("vt-resnet tokens"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eps_that_cannot_be_divided_by_is_refused() {
        let x = [Tensor::f32([2, 5])];
        for (eps, fits) in [(1e-12, true), (0.0, false), (-1.0, false), (f64::NAN, false)] {
            assert_eq!(L2Normalize { eps }.outputs(&x).is_ok(), fits, "{eps}");
        }
    }
}
