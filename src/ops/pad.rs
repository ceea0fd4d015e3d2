//! Zeros before and behind an axis: the gradient of [`Slice`], whose gradient it is.

use serde::{Deserialize, Serialize};

use super::permute::bits;
use super::slice::{Range, shifted};
use super::{AWKWARD, Entry, Slice, by_image};
use crate::graph::{ByImage, Case, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// x → y, with zeros along one axis: `before` in front of x and `after` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// The axis.
    pub axis: usize,
    /// Zeros in front.
    pub before: usize,
    /// Zeros behind.
    pub after: usize,
}

kernel! {
    /// One lane a unit of y.
    struct Copy = "pad/copy" {
        params { count: u32, each: u32, whole: u32, start: u32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// One lane a row of three elements.
    struct Fourth = "pad/fourth" {
        params { rows: u32 }
        read { x }
        write { y }
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some(&size) = x.shape.get(self.axis) else {
            return Err(format!("x is {}, which has no axis {}: axes are counted from 0", x.shape, self.axis));
        };
        let mut sizes = x.shape.to_vec();
        sizes[self.axis] = size.saturating_add(self.before).saturating_add(self.after);
        Ok(vec![x.shaped(sizes)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        if self.axis > 0 { by_image(self, &[0]) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [x, y] = [&io.inputs[0], &io.outputs[0]];
        if self.before == 0 && self.axis + 1 == x.shape.len() && x.shape.ends_with(&[3]) && y.shape.ends_with(&[4]) {
            let (rows, lanes) = (x.shape.count() / 3, tuning::lanes(io.machine));
            let variant = Variant::default().piece(bits(io.elem(0))).constant("WORKGROUP", lanes);
            let call = Fourth { rows: word(rows), x: io.input(0), y: io.output(0) };
            return out.dispatch(&call, variant, Grid::over(rows, lanes as usize));
        }
        let range = Range::of(&io.outputs[0], self.axis, [self.before, io.inputs[0].shape[self.axis]]);
        let count = range.rows * range.whole;
        let (each, whole, start) = (word(range.each), word(range.whole), word(range.start));
        let (variant, grid) = range.build(io, count);
        let call = Copy { count: word(count), each, whole, start, x: io.input(0), y: io.output(0) };
        out.dispatch(&call, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let length = graph.tensor(node.inputs[0]).shape[self.axis];
        let slice = Slice { axis: self.axis, start: self.before, length };
        Ok(vec![Some(graph.apply_one(slice, &[dy])?)])
    }
}

impl Maths for Pad {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = inputs[0];
        let mut shape = x.shape.clone();
        shape[self.axis] += self.before + self.after;
        let moved = [-self.before.cast_signed(), x.shape[self.axis].cast_signed()];
        let from = |at| shifted(at, &shape, self.axis, moved);
        vec![Array::from_fn(&shape, |at| from(at).map_or(T::default(), |from| x.data[from]))]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Pad>(
        "pad",
        "y = x, with zeros along one axis: `before` in front and `after` behind",
        &[("axis", "a whole number from 0"), ("before", "a whole number from 0"), ("after", "a whole number from 0")],
        [&[("x", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |axis, [before, after]: [usize; 2], shape: &[usize]| Case::new(Pad { axis, before, after }, &[shape]);
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&n| case(1, [1, 2], &[3, n])).collect();
    cases.extend([
        case(0, [0, 0], &[1]),
        case(0, [2, 1], &[5, 7]),
        case(1, [0, 3], &[2, 7, 8]),
        case(2, [8, 16], &[2, 3, 40]),
        case(2, [2, 2], &[2, 3, 16]),
        case(2, [8, 3], &[2, 3, 5]),
        case(1, [3, 0], &[2, 1, 3, 2, 3]),
        // A fourth channel.
        case(2, [0, 1], &[5, 67, 3]),
        case(0, [0, 1], &[3]),
    ]);
    cases.push(case(3, [0, 1], &[64, 224, 224, 3]).real("resnet50, images"));
    cases.push(case(1, [8, 8], &[256, 8, 1024]).real("tokens of one map among those of several"));
    cases
}
