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
    /// One lane an element of y.
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
        let count = io.outputs[0].shape.count();
        let lanes = tuning::lanes(io.machine);
        let walk = self.walk(&io.inputs[0].shape);
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
        let variant = Variant::default().piece(bits(io.elem(0))).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(count, lanes as usize));
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
        case(&[0, 2, 1, 3], &[256, 196, 16, 16]).real("vt-resnet heads of pixels"),
        case(&[0, 2, 1], &[256, 196, 256]).real("vt-resnet stage4 pixels and channels"),
    ]
}
