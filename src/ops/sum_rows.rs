//! The sum over the rows of a matrix: gradients of bias vectors.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::{self, Strips, Width};
use crate::kernel::{Elem, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// x [R, C] → `f32 [C]`, the sum over R, added in f32. It ends backward passes, so it has no gradient of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumRows;

kernel! {
    /// A workgroup a block of rows and strip of columns.
    struct Forward = "sum_rows/forward" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x }
        write { y }
    }
}

impl Op for SumRows {
    fn name(&self) -> &'static str {
        "sum_rows"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some([_, columns]) = x.shape.rank() else {
            return Err(format!("x must be [rows, columns] and is {}: reshape it first", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        Ok(vec![Tensor::f32([columns])])
    }

    /// Blocks of rows first, then the blocks' sums by the same kernel; in one step where a block holds every row.
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        sum_rows(io, out, io.input_dims(0), io.output(0));
    }
}

/// The calls that make `y` the sum over the rows of input 0, seen as so many rows and columns.
pub(super) fn sum_rows(io: &Io<'_>, out: &mut Recording, [rows, columns]: [usize; 2], y: View) {
    let width = tuning::width(columns);
    let strips = Strips::of(io.machine, rows, columns / width.elements());
    if strips.blocks == 1 {
        return sum(out, (strips, width, io.elem(0)), [rows, columns], [io.input(0), y]);
    }
    let partial = out.scratch(strips.blocks * columns);
    sum(out, (strips, width, io.elem(0)), [rows, columns], [io.input(0), partial]);
    let merging = Strips::merging(io.machine, strips.blocks, columns);
    sum(out, (merging, Width::One, Elem::F32), [strips.blocks, columns], [partial, y]);
}

fn sum(
    out: &mut Recording,
    (strips, width, elem): (Strips, Width, Elem),
    [rows, columns]: [usize; 2],
    [x, y]: [View; 2],
) {
    let columns = columns / width.elements();
    out.dispatch(
        &Forward { rows: word(rows), columns: word(columns), rows_each: word(strips.rows_each), x, y },
        strips.build(Variant::of(elem).piece(width.piece())),
        Grid::volume(strips.across, strips.blocks, 1),
    );
}

impl Maths for SumRows {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [_, columns] = inputs[0].dims();
        let mut y = Array::zeros(&[columns]);
        for row in inputs[0].data.chunks_exact(columns) {
            y.data.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
        vec![y]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<SumRows>(
        "sum_rows",
        "y = Σ over R",
        &[],
        [&[("x", "T [R, C]")], &[("y", "f32 [C]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let shapes = [[1, 1], [2, 3], [31, 4], [1, 257], [257, 33], [1_500, 5], [1_031, 64], [600, 160]];
    let mut cases: Vec<Case> = shapes.iter().map(|shape| Case::new(SumRows, &[&shape[..]])).collect();
    cases.push(Case::new(SumRows, &[&[64, 1_000]]).real("resnet50 classifier bias"));
    cases.push(Case::new(SumRows, &[&[64 * 112 * 112, 64]]).real("resnet50 stem bias"));
    cases.into_iter().map(Case::no_gradient).collect()
}
