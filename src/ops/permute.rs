//! Axes in another order: y's axis i is x's axis `axes[i]`.

use serde::{Deserialize, Serialize};

use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// The most axes that a permutation may have, once neighbors that stay neighbors are counted as one axis.
const MAX_AXES: usize = 6;

/// Axes in another order: y's axis i is x's axis `axes[i]`, as numpy's `transpose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permute {
    /// For each axis of y, the axis of x.
    pub axes: Vec<usize>,
}

kernel! {
    /// One lane an element of y, or several side by side.
    struct Copy = "permute/copy" {
        params {
            count: u32,
            size1: u32, size2: u32, size3: u32, size4: u32, size5: u32,
            stride0: u32, stride1: u32, stride2: u32, stride3: u32, stride4: u32, stride5: u32,
        }
        read { x }
        write { y }
    }
}

kernel! {
    /// One workgroup a tile of rows of x and rows of y.
    struct Transpose = "permute/transpose" {
        params {
            rows: u32, columns: u32, row_stride: u32, column_stride: u32,
            size0: u32, size1: u32, size2: u32, size3: u32,
            from0: u32, from1: u32, from2: u32, from3: u32, to0: u32, to1: u32, to2: u32, to3: u32,
        }
        read { x }
        write { y }
    }
}

impl Permute {
    fn inverse(&self) -> Self {
        let mut axes = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            axes[from] = to;
        }
        Self { axes }
    }

    /// For each axis of y its size and what a step along it is in x; axes of size 1 left out, axes that lie behind one
    /// another in x merged: the fewest divisions for the kernel.
    fn walk(&self, sizes: &[usize]) -> Vec<(usize, usize)> {
        let mut walk: Vec<(usize, usize)> = Vec::new();
        for &axis in self.axes.iter().filter(|&&axis| sizes[axis] != 1) {
            let (size, stride) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
            match walk.last_mut() {
                Some(outer) if outer.1 == stride * size => *outer = (outer.0 * size, stride),
                _ => walk.push((size, stride)),
            }
        }
        walk
    }
}

/// The call for any order of axes. Where what is in a row in x stays so, several elements are moved at once.
fn copy(io: &Io<'_>, out: &mut Recording, mut walk: Vec<(usize, usize)>) {
    let (mut count, mut piece) = (io.outputs[0].shape.count(), bits(io.elem(0)));
    if let Some(((size, 1), outer)) = walk.split_last_mut() {
        let bytes = io.elem(0).bytes();
        let (unit, wide) = unit(&[*size * bytes]);
        let each = unit / bytes;
        *size /= each;
        outer.iter_mut().for_each(|(_, stride)| *stride /= each);
        (count, piece) = (count / each, wide);
    }
    let lanes = tuning::lanes(io.machine);
    let mut axes = [(1, 0); MAX_AXES];
    axes[MAX_AXES - walk.len()..].copy_from_slice(&walk);
    let [s0, s1, s2, s3, s4, s5] = axes.map(|(size, stride)| (word(size), word(stride)));
    let call = Copy {
        count: word(count),
        size1: s1.0,
        size2: s2.0,
        size3: s3.0,
        size4: s4.0,
        size5: s5.0,
        stride0: s0.1,
        stride1: s1.1,
        stride2: s2.1,
        stride3: s3.1,
        stride4: s4.1,
        stride5: s5.1,
        x: io.input(0),
        y: io.output(0),
    };
    let variant = Variant::default().piece(piece).constant("WORKGROUP", lanes);
    out.dispatch(&call, variant, Grid::over(count, lanes as usize));
}

/// The most bytes, up to the 16 that a lane moves at once, of which all of these are multiples, and the piece that copies so many.
pub(super) fn unit(bytes: &[usize]) -> (usize, &'static str) {
    let fits = |unit: usize| bytes.iter().all(|bytes| bytes.is_multiple_of(unit));
    let units = [(16, "bits_128"), (8, "bits_64"), (4, "bits_32")];
    units.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((2, "bits_16"))
}

/// Where another axis of x is in a row in y: that one and x's own, and what is left of the walk.
struct Turned {
    /// Rows of x: size, and the stride in y.
    rows: (usize, usize),
    /// Rows of y: size, and the stride in x.
    columns: (usize, usize),
    /// The other axes: size, stride in x, stride in y.
    outer: Vec<(usize, usize, usize)>,
}

/// Fewer rows or columns leave most of a tile empty.
const WORTH_TILES: usize = 8;
/// The kernel's tile.
const SIDE: usize = 32;

impl Turned {
    fn of(walk: &[(usize, usize)]) -> Option<Self> {
        let (&columns, _) = walk.split_last().filter(|((size, stride), _)| *stride > 1 && *size >= WORTH_TILES)?;
        let at = walk.iter().position(|&(size, stride)| stride == 1 && size >= WORTH_TILES)?;
        let in_y = |at: usize| walk[at + 1..].iter().map(|axis| axis.0).product::<usize>();
        let others = (0..walk.len() - 1).filter(|&other| other != at);
        let outer = others.map(|other| (walk[other].0, walk[other].1, in_y(other))).collect();
        Some(Self { rows: (walk[at].0, in_y(at)), columns, outer })
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let mut outer = [(1, 0, 0); MAX_AXES - 2];
        outer[MAX_AXES - 2 - self.outer.len()..].copy_from_slice(&self.outer);
        let [o0, o1, o2, o3] = outer.map(|(size, from, to)| [size, from, to].map(word));
        let call = Transpose {
            rows: word(self.rows.0),
            columns: word(self.columns.0),
            row_stride: word(self.rows.1),
            column_stride: word(self.columns.1),
            size0: o0[0],
            size1: o1[0],
            size2: o2[0],
            size3: o3[0],
            from0: o0[1],
            from1: o1[1],
            from2: o2[1],
            from3: o3[1],
            to0: o0[2],
            to1: o1[2],
            to2: o2[2],
            to3: o3[2],
            x: io.input(0),
            y: io.output(0),
        };
        let sides = self.rows.0.div_ceil(SIDE) * self.columns.0.div_ceil(SIDE);
        let tiles = sides * self.outer.iter().map(|axis| axis.0).product::<usize>();
        let variant = Variant::default().piece(bits(io.elem(0))).constant("WORKGROUP", tuning::lanes(io.machine));
        out.dispatch(&call, variant, Grid::of(tiles));
    }
}

/// The piece that copies elements of this type.
pub(super) fn bits(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 | Elem::U32 => "bits_32",
        Elem::F16 => "bits_16",
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err("takes one input".to_owned()) };
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.shape.len()) {
            return Err(format!("axes {:?} must name each of the {} axes of x once", self.axes, x.shape.len()));
        }
        if self.walk(&x.shape).len() > MAX_AXES {
            return Err(format!("axes {:?} move more than {MAX_AXES} groups of axes; permute twice", self.axes));
        }
        Ok(vec![x.shaped(self.axes.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>())])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        if self.axes.first() == Some(&0) { by_image(self, &[0]) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let walk = self.walk(&io.inputs[0].shape);
        match Turned::of(&walk) {
            Some(turned) => turned.record(io, out),
            None => copy(io, out, walk),
        }
    }

    fn backward(&self, _: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(self.inverse(), &[dy])?)])
    }
}

impl Maths for Permute {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = inputs[0];
        let sizes: Vec<usize> = self.axes.iter().map(|&axis| x.shape[axis]).collect();
        let stride = |axis: usize| x.shape[axis + 1..].iter().product::<usize>();
        let from = |at: usize| {
            let axes = self.axes.iter().zip(&sizes).rev();
            axes.fold((at, 0), |(rest, from), (&axis, &size)| (rest / size, from + rest % size * stride(axis))).1
        };
        vec![Array::from_fn(&sizes, |at| x.data[from(at)])]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Permute>(
        "permute",
        "y's axis i is x's axis axes[i]",
        &[("axes", "a list that names each axis of x once")],
        [&[("x", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |axes: &[usize], shape: &[usize]| Case::new(Permute { axes: axes.to_vec() }, &[shape]);
    vec![
        case(&[0], &[257]),
        case(&[1, 0], &[1, 33]),
        case(&[1, 0], &[33, 33]),
        case(&[1, 0], &[127, 31]),
        case(&[0, 2, 1], &[2, 33, 5]),
        case(&[2, 0, 1], &[3, 5, 7]),
        case(&[0, 2, 1, 3], &[2, 7, 4, 3]),
        case(&[0, 3, 1, 2], &[2, 5, 7, 3]),
        case(&[1, 3, 0, 2], &[2, 3, 4, 5]),
        case(&[4, 1, 3, 0, 2], &[2, 3, 1, 2, 3]),
        case(&[5, 4, 3, 2, 1, 0], &[2, 3, 2, 3, 2, 3]),
        case(&[6, 5, 0, 1, 2, 3, 4], &[2, 1, 2, 3, 2, 2, 3]),
        // In tiles: whole ones, sticking out, with axes before and between, and more groups than a grid has in a row.
        case(&[1, 0], &[32, 64]),
        case(&[0, 3, 1, 2, 4], &[2, 3, 2, 33, 9]),
        case(&[2, 4, 3, 1, 0], &[9, 3, 2, 2, 35]),
        case(&[0, 2, 1], &[65_537, 8, 8]).no_gradient(),
        // Whole rows, by 16, 8 and 4 bytes.
        case(&[1, 0, 2], &[3, 5, 16]),
        case(&[1, 0, 2], &[3, 5, 12]),
        case(&[1, 0, 2], &[3, 5, 6]),
        case(&[0, 2, 1, 3], &[256, 196, 16, 16]).real("vt-resnet heads of pixels"),
        case(&[0, 2, 1], &[256, 196, 256]).real("vt-resnet stage4 pixels and channels"),
    ]
}
