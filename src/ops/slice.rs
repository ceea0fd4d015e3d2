//! A range of an axis by itself. Its gradient stands among zeros, which is [`Pad`].

use serde::{Deserialize, Serialize};

use super::permute::unit;
use super::{AWKWARD, Entry, Pad, by_image};
use crate::graph::{ByImage, Case, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// x → y, of one axis only `length` from `start` on. [`Pad`] is its gradient, and it is that of `Pad` and [`Concat`](super::Concat).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// The first that is kept.
    pub start: usize,
    /// How many are.
    pub length: usize,
}

kernel! {
    /// One lane a unit of y.
    struct Copy = "slice/copy" {
        params { count: u32, each: u32, whole: u32, start: u32 }
        read { x }
        write { y }
    }
}

/// Cuts an axis into pieces of these lengths, one behind the other: a [`Slice`] each. [`Concat`](super::Concat) joins them again.
///
/// # Errors
/// When the lengths do not add up to what the axis has.
pub fn split(graph: &mut Graph, x: Value, axis: usize, lengths: &[usize]) -> Result<Vec<Value>, GraphError> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for &length in lengths {
        pieces.push(graph.apply_one(Slice { axis, start, length }, &[x])?);
        start += length;
    }
    match graph.tensor(x) {
        x if x.shape.get(axis) == Some(&start) => Ok(pieces),
        x => Err(GraphError::Shapes {
            op: "split".to_owned(),
            problem: format!("lengths {lengths:?} must add up to axis {axis} of x"),
            inputs: x.to_string(),
        }),
    }
}

/// A range of an axis as a copy sees it: of `rows` rows, each `whole` units long, `each` units from `start` on. A unit is what a lane
/// moves at once.
pub(super) struct Range {
    pub(super) rows: usize,
    pub(super) each: usize,
    pub(super) whole: usize,
    pub(super) start: usize,
    bits: &'static str,
}

impl Range {
    /// The range of `length` from `start` on along this axis of `whole`.
    pub(super) fn of(whole: &Tensor, axis: usize, [start, length]: [usize; 2]) -> Self {
        let rows = whole.shape[..axis].iter().product();
        let bytes = whole.shape[axis + 1..].iter().product::<usize>() * whole.elem.bytes();
        let [each, whole, start] = [length, whole.shape[axis], start].map(|count| count * bytes);
        let (unit, bits) = unit(&[each, whole, start]);
        Self { rows, each: each / unit, whole: whole / unit, start: start / unit, bits }
    }

    /// The build, and the grid over `count` units.
    pub(super) fn build(&self, io: &Io<'_>, count: usize) -> (Variant, Grid) {
        let lanes = tuning::lanes(io.machine);
        let variant = Variant::default().piece(self.bits).constant("WORKGROUP", lanes);
        (variant, Grid::over(count, lanes as usize))
    }
}

/// What y[.., at, ..] of `shape` is, by its number: which number of a tensor that differs in this axis alone has the place (at + shift)
/// there; nothing where that is outside.
pub(super) fn shifted(at: usize, shape: &[usize], axis: usize, [shift, other]: [isize; 2]) -> Option<usize> {
    let inner: usize = shape[axis + 1..].iter().product();
    let (row, place, rest) = (at / inner / shape[axis], at / inner % shape[axis], at % inner);
    let place = place.checked_add_signed(shift).filter(|&place| place < other.unsigned_abs())?;
    Some((row * other.unsigned_abs() + place) * inner + rest)
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Self { axis, start, length } = *self;
        let Some(&size) = x.shape.get(axis) else {
            return Err(format!("x is {}, which has no axis {axis}: axes are counted from 0", x.shape));
        };
        let end = start.saturating_add(length);
        if length == 0 || end > size {
            return Err(format!("{start}..{end} must be a range of at least one in axis {axis}, which has {size}"));
        }
        let mut sizes = x.shape.to_vec();
        sizes[axis] = length;
        Ok(vec![x.shaped(sizes)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        if self.axis > 0 { by_image(self, &[0]) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let range = Range::of(&io.inputs[0], self.axis, [self.start, self.length]);
        let count = range.rows * range.each;
        let (each, whole, start) = (word(range.each), word(range.whole), word(range.start));
        let (variant, grid) = range.build(io, count);
        let call = Copy { count: word(count), each, whole, start, x: io.input(0), y: io.output(0) };
        out.dispatch(&call, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let size = graph.tensor(node.inputs[0]).shape[self.axis];
        let pad = Pad { axis: self.axis, before: self.start, after: size - self.start - self.length };
        Ok(vec![Some(graph.apply_one(pad, &[dy])?)])
    }
}

impl Maths for Slice {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = inputs[0];
        let mut shape = x.shape.clone();
        shape[self.axis] = self.length;
        let moved = [self.start.cast_signed(), x.shape[self.axis].cast_signed()];
        let from = |at| shifted(at, &shape, self.axis, moved);
        vec![Array::from_fn(&shape, |at| from(at).map_or(T::of(f64::NAN), |from| x.data[from]))]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Slice>(
        "slice",
        "y = x, of one axis only `length` from `start` on",
        &[("axis", "a whole number from 0"), ("start", "a whole number from 0"), ("length", "a whole number from 1")],
        [&[("x", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |axis, [start, length]: [usize; 2], shape: &[usize]| Case::new(Slice { axis, start, length }, &[shape]);
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&n| case(1, [1, n], &[3, n + 2])).collect();
    cases.extend([
        case(0, [0, 1], &[1]),
        case(0, [2, 3], &[5, 7]),
        case(1, [2, 5], &[3, 9, 3]),
        case(1, [0, 4], &[2, 7, 8]),
        // Units of 16 bytes, of 4, and in f16 of 2: what of a row, of its range and of what lies before decides.
        case(2, [8, 16], &[2, 3, 40]),
        case(2, [2, 16], &[2, 3, 40]),
        case(2, [8, 6], &[2, 3, 40]),
        case(2, [8, 16], &[2, 3, 42]),
        case(2, [4, 33], &[1, 5, 37]),
        case(3, [1, 2], &[2, 3, 5, 4]),
        case(1, [3, 1], &[2, 4, 3, 2, 3]),
    ]);
    cases.push(case(1, [8, 8], &[256, 24, 1024]).real("tokens of one map among those of several"));
    cases.push(case(3, [128, 128], &[2, 200, 304, 256]).real("half of the channels"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_none_are_refused() {
        let refused = |axis, start, length| Slice { axis, start, length }.outputs(&[Tensor::f32([2, 5])]).is_err();
        assert!(!refused(1, 0, 5) && !refused(1, 4, 1));
        assert!(refused(2, 0, 1) && refused(1, 0, 0) && refused(1, 3, 3) && refused(1, 1, usize::MAX));
        let mut graph = Graph::new();
        let x = graph.input("x", Tensor::f32([2, 5]));
        assert_eq!(split(&mut graph, x, 1, &[2, 3]).map(|pieces| pieces.len()), Ok(2));
        for lengths in [&[2, 2][..], &[2, 4], &[]] {
            assert!(split(&mut graph, x, 1, lengths).is_err(), "{lengths:?}");
        }
    }
}
