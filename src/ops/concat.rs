//! Values behind one another along an axis. Each gets its range of the gradient, which is [`Slice`].

use serde::{Deserialize, Serialize};

use super::slice::{Range, shifted};
use super::{Add, Entry, Pad, Slice, by_image};
use crate::graph::{ByImage, Case, Composition, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// Two or more values → y, behind one another along one axis; in all other axes, and in type, they are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

kernel! {
    /// One lane a unit of x.
    struct Copy = "concat/copy" {
        params { count: u32, each: u32, whole: u32, start: u32 }
        read { x }
        write { y }
    }
}

/// Of each value along the axis: where it starts in y, and how long it is.
fn ranges(lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = [usize; 2]> {
    lengths.scan(0, |end, length| {
        *end += length;
        Some([*end - length, length])
    })
}

impl Concat {
    /// What [`ranges`] says of these values.
    fn ranges_of(&self, inputs: &[Value], graph: &Graph) -> Vec<[usize; 2]> {
        ranges(inputs.iter().map(|&x| graph.tensor(x).shape[self.axis])).collect()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [first, _, ..] = inputs else { return Err(format!("takes two or more inputs, not {}", inputs.len())) };
        let axis = self.axis;
        if axis >= first.shape.len() {
            return Err(format!("the first is {}, which has no axis {axis}: axes are counted from 0", first.shape));
        }
        let mut y = first.shape.to_vec();
        y[axis] = 0;
        for (at, x) in inputs.iter().enumerate() {
            let mut wants = first.shape.to_vec();
            wants[axis] = x.shape.get(axis).copied().unwrap_or(0);
            if *x != first.shaped(wants) {
                return Err(format!("input {at} is {x} and may differ from {first} in axis {axis} alone"));
            }
            y[axis] = y[axis].saturating_add(x.shape[axis]);
        }
        Ok(vec![first.shaped(y)])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        if self.axis > 0 { by_image(self, &(0..inputs.len()).collect::<Vec<_>>()) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let lengths = io.inputs.iter().map(|x| x.shape[self.axis]);
        for (at, range) in ranges(lengths).enumerate() {
            let range = Range::of(&io.outputs[0], self.axis, range);
            let count = range.rows * range.each;
            let (each, whole, start) = (word(range.each), word(range.whole), word(range.start));
            let (variant, grid) = range.build(io, count);
            let call = Copy { count: word(count), each, whole, start, x: io.input(at), y: io.output(0) };
            out.dispatch(&call, variant, grid);
        }
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let ranges = self.ranges_of(&node.inputs, graph);
        let slices = ranges.into_iter().map(|[start, length]| Slice { axis: self.axis, start, length });
        slices.map(|slice| Ok(Some(graph.apply_one(slice, &[dy])?))).collect()
    }

    /// The sum of all, each among zeros.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let tensors: Vec<Tensor> = inputs.iter().map(|&x| graph.tensor(x).clone()).collect();
        let [ref y] = self.outputs(&tensors).unwrap_or_default()[..] else { return Ok(None) };
        if y.elem == Elem::U32 {
            return Ok(None); // whole numbers are not added
        }
        let mut sum = None;
        for (&x, [before, length]) in inputs.iter().zip(self.ranges_of(inputs, graph)) {
            let pad = Pad { axis: self.axis, before, after: y.shape[self.axis] - before - length };
            let padded = graph.apply_one(pad, &[x])?;
            sum = Some(match sum {
                Some(sum) => graph.apply_one(Add, &[sum, padded])?,
                None => padded,
            });
        }
        Ok(Some(vec![sum]))
    }
}

impl Maths for Concat {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let lengths = || inputs.iter().map(|x| x.shape[self.axis]);
        let mut shape = inputs[0].shape.clone();
        shape[self.axis] = lengths().sum();
        let ranges: Vec<[usize; 2]> = ranges(lengths()).collect();
        vec![Array::from_fn(&shape, |at| {
            let mut found = inputs.iter().zip(&ranges).filter_map(|(x, [start, length])| {
                Some(x.data[shifted(at, &shape, self.axis, [-start.cast_signed(), length.cast_signed()])?])
            });
            found.next().unwrap_or(T::of(f64::NAN))
        })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Concat>(
        "concat",
        "y = x, then the others behind it along one axis, in which alone they may differ",
        &[("axis", "a whole number from 0")],
        [&[("x", "T [..]"), ("others*", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |axis, shapes: &[&[usize]]| Case::new(Concat { axis }, shapes);
    vec![
        case(0, &[&[1], &[1]]),
        case(0, &[&[3, 5], &[2, 5]]),
        case(1, &[&[3, 1], &[3, 257]]),
        case(1, &[&[2, 7, 3], &[2, 2, 3]]),
        // Units of 16 bytes, of 4, and in f16 of 2.
        case(1, &[&[2, 4, 8], &[2, 3, 8], &[2, 9, 8]]),
        case(2, &[&[2, 3, 16], &[2, 3, 6], &[2, 3, 33]]),
        case(3, &[&[2, 3, 5, 8], &[2, 3, 5, 32]]),
        case(1, &[&[127, 2], &[127, 4]]),
        case(1, &[&[2, 1, 2, 3], &[2, 3, 2, 3], &[2, 1, 2, 3], &[2, 2, 2, 3]]),
        case(1, &[&[256, 16, 1024], &[256, 16, 1024]]).real("tokens of two stages"),
        case(1, &[&[2, 8, 1024], &[2, 8, 1024], &[2, 8, 1024], &[2, 8, 1024]]).real("vt-fpn tokens of four maps"),
        case(3, &[&[64, 14, 14, 192], &[64, 14, 14, 64]]).real("attention beside a convolution, 14x14"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_elsewhere_are_refused() {
        let fits = |axis, shapes: &[&[usize]]| {
            let tensors: Vec<Tensor> = shapes.iter().map(|shape| Tensor::f32(*shape)).collect();
            Concat { axis }.outputs(&tensors).is_ok()
        };
        assert!(fits(1, &[&[2, 3], &[2, 5]]));
        for (axis, shapes) in [(0, &[&[2, 3][..], &[2, 5]][..]), (2, &[&[2, 3], &[2, 3]]), (1, &[&[2, 3]])] {
            assert!(!fits(axis, shapes), "{axis} {shapes:?}");
        }
        assert!(!fits(1, &[&[2, 3], &[2, 3, 1]]) && !fits(1, &[&[2, 3], &[2]]));
        let mixed = [Tensor::f32([2, 3]), Tensor::new([2, 3], Elem::F16)];
        assert!(Concat { axis: 0 }.outputs(&mixed).is_err());
    }
}
