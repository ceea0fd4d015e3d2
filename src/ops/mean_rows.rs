//! The mean over the middle axis, pixels or tokens: global average pooling, and its gradient.

use serde::{Deserialize, Serialize};

use super::{Entry, Fill, MatMul, Reshape, by_image};
use crate::graph::{
    ByImage, Case, Composition, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::tuning::{self, Strips};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// x [N, R, C] → y [N, C], the mean over R (pixels, tokens), added in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeanRows;

/// dy [N, C] → dx [N, R, C]: every row receives dy / R.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeanRowsBackward {
    /// R.
    pub rows: usize,
}

kernel! {
    /// A workgroup one n and a strip of columns.
    struct Forward = "mean_rows/forward" {
        params { n: u32, rows: u32, columns: u32, across: u32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// One lane an element, or four.
    struct Backward = "mean_rows/backward" {
        params { count: u32, rows: u32, columns: u32 }
        read { dy }
        write { dx }
    }
}

impl Op for MeanRows {
    fn name(&self) -> &'static str {
        "mean_rows"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some([n, _, columns]) = x.shape.rank() else {
            return Err(format!("x must be [N, rows, columns] and is {}: reshape it first", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        Ok(vec![x.shaped([n, columns])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, rows, columns] = io.input_dims(0);
        let width = tuning::width(columns);
        let columns = columns / width.elements();
        let strips = Strips::whole(io.machine, rows, columns);
        out.dispatch(
            &Forward {
                n: word(n),
                rows: word(rows),
                columns: word(columns),
                across: word(strips.across),
                x: io.input(0),
                y: io.output(0),
            },
            strips.build(Variant::of(io.elem(0)).piece(width.piece())),
            Grid::of(n * strips.across),
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let [_, rows, _] = graph.tensor(node.inputs[0]).shape.dims();
        Ok(vec![Some(graph.apply_one(MeanRowsBackward { rows }, &[dy])?)])
    }

    /// A product with a row of 1 / R.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let Some([n, rows, columns]) = inputs.first().and_then(|&x| graph.tensor(x).shape.rank()) else {
            return Ok(None); // what has no rows is refused by the op itself
        };
        let tensor = graph.tensor(inputs[0]).shaped([n, 1, rows]);
        let row = graph.apply_one(Fill { value: 1.0 / rows as f64, tensor }, &[])?;
        let y = graph.apply_one(MatMul::new(), &[row, inputs[0]])?;
        Ok(Some(vec![Some(graph.apply_one(Reshape { shape: [n, columns].into() }, &[y])?)]))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for MeanRows {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, rows, columns] = inputs[0].dims();
        vec![Array::from_fn(&[n, columns], |at| {
            let (n, column) = (at / columns, at % columns);
            let sum: T = (0..rows).map(|row| inputs[0].data[(n * rows + row) * columns + column]).sum();
            sum / T::count(rows)
        })]
    }
}

impl Op for MeanRowsBackward {
    fn name(&self) -> &'static str {
        "mean_rows_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [dy] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some([n, columns]) = dy.shape.rank() else {
            return Err(format!("dy must be [N, columns] and is {}", dy.shape));
        };
        if dy.elem == Elem::U32 {
            return Err("dy must be f32 or f16, not u32".to_owned());
        }
        Ok(vec![dy.shaped([n, self.rows, columns])])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, columns] = io.input_dims(0);
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(columns));
        let columns = columns / width.elements();
        let count = n * self.rows * columns;
        out.dispatch(
            &Backward {
                count: word(count),
                rows: word(self.rows),
                columns: word(columns),
                dy: io.input(0),
                dx: io.output(0),
            },
            Variant::of(io.elem(0)).piece(width.piece()).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for MeanRowsBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, columns] = inputs[0].dims();
        vec![Array::from_fn(&[n, self.rows, columns], |at| {
            let (n, column) = (at / (self.rows * columns), at % columns);
            inputs[0].data[n * columns + column] / T::count(self.rows)
        })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<MeanRows>(
            "mean_rows",
            "y = the mean over R",
            &[],
            [&[("x", "T [N, R, C]")], &[("y", "T [N, C]")]],
        ),
        Signature::of::<MeanRowsBackward>(
            "mean_rows_backward",
            "dx = dy / R in every row",
            &[("rows", "R")],
            [&[("dy", "T [N, C]")], &[("dx", "T [N, R, C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let shapes = [[1, 1, 1], [2, 49, 3], [3, 7, 64], [1, 257, 33], [5, 2, 160]];
    let mut cases: Vec<Case> = shapes.iter().map(|shape| Case::new(MeanRows, &[&shape[..]])).collect();
    cases.push(Case::new(MeanRows, &[&[64, 49, 2048]]).real("resnet50 average pool"));
    cases.push(Case::new(MeanRows, &[&[64, 16, 1024]]).real("vt-resnet50 token mean"));
    cases
}
