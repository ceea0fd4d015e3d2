//! Matrix product, batched: y = a b, with either side stored transposed.

use serde::{Deserialize, Serialize};

use super::reshape::Reshape;
use super::{Entry, by_image};
use crate::graph::{
    ByImage, Case, Cost, Gradients, Graph, GraphError, Io, Maths, Node, Op, Shape, Signature, Tensor, Value,
};
use crate::kernel::tuning::gemm::{Rows, Sums, Tiles};
use crate::kernel::{Elem, Recording, Variant, word};
use crate::reference::{Array, Real};

/// y[.., m, n] = a[.., m, k] b[.., k, n], or with one b[k, n] for the whole batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMul {
    /// a is stored as [.., k, m].
    pub transpose_a: bool,
    /// b is stored as [.., n, k].
    pub transpose_b: bool,
}

kernel! {
    struct Multiply = "matmul/multiply" {
        params {}
        read { a, b }
        write { y }
    }
}

/// The sizes of a product.
struct Sizes {
    batch: usize,
    rows: usize,
    cols: usize,
    depth: usize,
    /// One b serves the whole batch.
    shared_b: bool,
}

impl MatMul {
    /// y = a b.
    #[must_use]
    pub const fn new() -> Self {
        Self { transpose_a: false, transpose_b: false }
    }

    fn sizes(self, a: &[usize], b: &[usize]) -> Result<Sizes, String> {
        let ([batch_a @ .., a0, a1], [batch_b @ .., b0, b1]) = (a, b) else {
            return Err("takes matrices: at least two axes each".to_owned());
        };
        let (rows, depth) = if self.transpose_a { (*a1, *a0) } else { (*a0, *a1) };
        let (inner, cols) = if self.transpose_b { (*b1, *b0) } else { (*b0, *b1) };
        let batch: usize = batch_a.iter().product();
        let shared_b = batch_b.is_empty() && !batch_a.is_empty();
        if inner != depth {
            return Err(format!("a sums over {depth} and b over {inner}"));
        }
        if batch_a != batch_b && !shared_b {
            return Err("batches differ; b may also have none".to_owned());
        }
        if shared_b && self.transpose_a {
            return Err("with one b for the whole batch, a cannot be transposed; permute it first".to_owned());
        }
        Ok(Sizes { batch, rows, cols, depth, shared_b })
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [a, b] = inputs else { return Err("takes two inputs".to_owned()) };
        if a.elem != b.elem || a.elem == Elem::U32 {
            return Err("both sides must be f32, or both f16".to_owned());
        }
        let sizes = self.sizes(&a.shape, &b.shape)?;
        let mut shape = a.shape.to_vec();
        shape.truncate(shape.len() - 2);
        shape.extend([sizes.rows, sizes.cols]);
        Ok(vec![a.shaped(shape)])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        let [a, b] = [0, 1].map(|at| inputs[at].shape.len());
        match (a > 2, b > 2) {
            (true, true) => by_image(self, &[0, 1]),
            // One b for all rows of a, which are its first axis or behind it.
            (_, false) if !self.transpose_a => by_image(self, &[0]),
            _ => None,
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(mut sizes) = self.sizes(&io.inputs[0].shape, &io.inputs[1].shape) else { return };
        if sizes.shared_b {
            // One b: the batch is more rows.
            sizes = Sizes { rows: sizes.batch * sizes.rows, batch: 1, ..sizes };
        }
        let Sizes { batch, rows, cols, depth, .. } = sizes;
        let along_a = if self.transpose_a { rows } else { depth };
        let along_b = if self.transpose_b { depth } else { cols };
        let along = if self.transpose_a { Rows::Other } else { Rows::Matrix };
        let sums = Sums { rows: along, extent: [rows, cols], depth, groups: batch, may_slice: false, beside: false };
        let tiles = Tiles::choose(io.machine, io.elem(0), &sums);
        let variant = Variant::of(io.elem(0))
            .piece(tiles.pack(io.elem(0), &[along_a, along_b, cols]))
            .constant("ROWS", word(rows))
            .constant("COLS", word(cols))
            .constant("DEPTH", word(depth));
        out.dispatch(
            &Multiply { a: io.input(0), b: io.input(1), y: io.output(0) },
            tiles.variant(variant, [rows, cols, depth], [!self.transpose_a, self.transpose_b]),
            tiles.grid([rows, cols], batch),
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let (Some(dy), &[a, b]) = (grads[0], &node.inputs[..]) else { return Ok(vec![None, None]) };
        let product = |graph: &mut Graph, transpose_a: bool, transpose_b: bool, left: Value, right: Value| {
            graph.apply_one(Self { transpose_a, transpose_b }, &[left, right])
        };
        let da = match self.transpose_a {
            false => product(graph, false, !self.transpose_b, dy, b)?,
            true => product(graph, self.transpose_b, true, b, dy)?,
        };
        // One b for the whole batch sums over the batch too: then the batch is more rows.
        let (flat_a, flat_dy) = match graph.tensor(a).shape.len() > graph.tensor(b).shape.len() {
            true => (flat(graph, a)?, flat(graph, dy)?),
            false => (a, dy),
        };
        let db = match self.transpose_b {
            false => product(graph, !self.transpose_a, false, flat_a, flat_dy)?,
            true => product(graph, true, self.transpose_a, flat_dy, flat_a)?,
        };
        Ok(vec![Some(da), Some(db)])
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let depth = self.sizes(&inputs[0].shape, &inputs[1].shape).map_or(0, |sizes| sizes.depth);
        Cost {
            multiply_adds: (outputs[0].shape.count() * depth) as u64,
            bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum(),
        }
    }
}

/// [.., m, n] seen as [.. m, n].
fn flat(graph: &mut Graph, value: Value) -> Result<Value, GraphError> {
    let shape = &graph.tensor(value).shape;
    let cols = shape[shape.len() - 1];
    let shape = Shape::from([shape.count() / cols, cols]);
    graph.apply_one(Reshape { shape }, &[value])
}

impl Maths for MatMul {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (a, b) = (inputs[0], inputs[1]);
        let Ok(Sizes { rows, cols, depth, shared_b, .. }) = self.sizes(&a.shape, &b.shape) else { return vec![] };
        let mut shape = a.shape.clone();
        shape.truncate(shape.len() - 2);
        shape.extend([rows, cols]);
        let y = Array::from_rows(&shape, cols, |at, y| {
            let (slice, row) = (at / rows, at % rows);
            let a = &a.data[slice * rows * depth..][..rows * depth];
            let b = &b.data[if shared_b { 0 } else { slice * depth * cols }..][..depth * cols];
            let left = |k: usize| if self.transpose_a { a[k * rows + row] } else { a[row * depth + k] };
            let left: Vec<T> = (0..depth).map(left).collect();
            // Either way in the order of k, along what lies side by side: a large product takes seconds, not minutes.
            if self.transpose_b {
                for (y, right) in y.iter_mut().zip(b.chunks(depth.max(1))) {
                    *y = left.iter().zip(right).map(|(&left, &right)| left * right).sum();
                }
            } else {
                for (&left, right) in left.iter().zip(b.chunks(cols.max(1))) {
                    y.iter_mut().zip(right).for_each(|(y, &right)| *y += left * right);
                }
            }
        });
        vec![y]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<MatMul>(
        "matmul",
        "y[.., m, n] = a[.., m, k] b[.., k, n], or one b [k, n] for the whole batch",
        &[("transpose_a", "true: a is stored as [.., k, m]"), ("transpose_b", "true: b is stored as [.., n, k]")],
        [&[("a", "T [.., m or k, k or m]"), ("b", "T [.., k or n, n or k]")], &[("y", "T [.., m, n]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    const SIZES: &[[usize; 3]] =
        &[[1, 1, 1], [3, 2, 5], [31, 33, 17], [32, 32, 16], [33, 31, 48], [64, 32, 64], [65, 68, 36], [4, 129, 20]];
    let mut cases = Vec::new();
    for &[m, n, k] in SIZES {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if transpose_a { [2, k, m] } else { [2, m, k] };
            let b = if transpose_b { [2, n, k] } else { [2, k, n] };
            cases.push(Case::new(MatMul { transpose_a, transpose_b }, &[&a, &b]));
        }
    }
    cases.push(Case::new(MatMul::new(), &[&[3, 5, 12], &[12, 8]]));
    cases.push(Case::new(MatMul { transpose_a: false, transpose_b: true }, &[&[2, 3, 7, 9], &[6, 9]]));
    cases.push(Case::new(MatMul::new(), &[&[40, 300], &[300, 7]]));
    // Whole tiles of any size, and several that stick out.
    cases.push(Case::new(MatMul::new(), &[&[128, 128], &[128, 128]]));
    cases.push(Case::new(MatMul::new(), &[&[132, 36], &[36, 132]]));
    cases.push(Case::new(MatMul::new(), &[&[4096, 4096], &[4096, 4096]]).real("GEMM 4096"));
    cases.push(Case::new(MatMul::new(), &[&[1024, 1024], &[1024, 1024]]).real("GEMM 1024"));
    cases.push(Case::new(MatMul::new(), &[&[256, 16, 1024], &[1024, 1024]]).real("vt token feed-forward"));
    cases
}
