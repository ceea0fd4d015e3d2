//! One thing many times, y[t, …] = x[0, …], and its gradient, the sum over t.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::permute::bits;
use super::{Fill, MatMul, Reshape};
use crate::graph::{
    Case, Composition, Gradients, Graph, GraphError, Io, Maths, Node, Op, Regrouping, Signature, Tensor, Value,
};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// x[1, …] → y[times, …]: parameters that every image of a batch shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// How many times.
    pub times: usize,
}

/// dx[0, …] = sum over t of dy[t, …], in f32 and in the order of t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatBackward;

kernel! {
    /// One lane an element of y.
    struct Forward = "repeat/forward" {
        params { count: u32, each: u32 }
        read { x }
        write { y }
    }
}

kernel! {
    /// One lane an element of dx.
    struct Backward = "repeat/backward" {
        params { each: u32, times: u32 }
        read { dy }
        write { dx }
    }
}

impl Op for Repeat {
    fn name(&self) -> &'static str {
        "repeat"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err("takes one input".to_owned()) };
        match x.shape.first() {
            Some(1) => Ok(vec![x.shaped([&[self.times], &x.shape[1..]].concat())]),
            _ => Err("the first axis must be 1".to_owned()),
        }
    }

    /// Once is a view, unless what it looks at is overwritten.
    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        if self.times != 1 || graph.is_updated(inputs[0]) {
            return Ok(None);
        }
        let shape = graph.graph.tensor(inputs[0]).shape.clone();
        graph.graph.apply(Reshape { shape }, inputs).map(Some)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (each, count) = (io.inputs[0].shape.count(), io.outputs[0].shape.count());
        let lanes = tuning::lanes(io.machine);
        let call = Forward { count: word(count), each: word(each), x: io.input(0), y: io.output(0) };
        let variant = Variant::default().piece(bits(io.elem(0))).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(count, lanes as usize));
    }

    fn backward(&self, _: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply_one(RepeatBackward, &[dy])?)])
    }

    /// A column of ones times the one thing as a row.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let Some(x) = inputs.first().map(|&x| graph.tensor(x).clone()).filter(|x| x.elem != Elem::U32) else {
            return Ok(None); // whole numbers are not multiplied
        };
        let Ok(y) = self.outputs(std::slice::from_ref(&x)) else { return Ok(None) };
        let ones = graph.apply_one(Fill { value: 1.0, tensor: x.shaped([self.times, 1]) }, &[])?;
        let row = graph.apply_one(Reshape { shape: [1, x.shape.count()].into() }, inputs)?;
        let copies = graph.apply_one(MatMul::new(), &[ones, row])?;
        Ok(Some(vec![Some(graph.apply_one(Reshape { shape: y[0].shape.clone() }, &[copies])?)]))
    }
}

impl Maths for Repeat {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = inputs[0];
        vec![Array::from_fn(&[&[self.times], &x.shape[1..]].concat(), |at| x.data[at % x.data.len()])]
    }
}

impl Op for RepeatBackward {
    fn name(&self) -> &'static str {
        "repeat_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [dy] if !dy.shape.is_empty() && dy.elem != Elem::U32 => {
                Ok(vec![dy.shaped([&[1], &dy.shape[1..]].concat())])
            }
            _ => Err("takes one tensor of numbers with at least one axis".to_owned()),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (each, times) = (io.outputs[0].shape.count(), io.inputs[0].shape[0]);
        let lanes = tuning::lanes(io.machine);
        let call = Backward { each: word(each), times: word(times), dy: io.input(0), dx: io.output(0) };
        let variant = Variant::of(io.elem(0)).constant("WORKGROUP", lanes);
        out.dispatch(&call, variant, Grid::over(each, lanes as usize));
    }
}

impl Maths for RepeatBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let dy = inputs[0];
        let shape = [&[1], &dy.shape[1..]].concat();
        let each = shape.iter().product::<usize>();
        vec![Array::from_fn(&shape, |at| dy.data.iter().skip(at).step_by(each).copied().sum())]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Repeat>(
            "repeat",
            "y[t, ..] = x[0, ..]",
            &[("times", "a whole number")],
            [&[("x", "T [1, ..]")], &[("y", "T [times, ..]")]],
        ),
        Signature::of::<RepeatBackward>(
            "repeat_backward",
            "dx[0, ..] = Σ over t of dy[t, ..]",
            &[],
            [&[("dy", "T [times, ..]")], &[("dx", "T [1, ..]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    vec![
        Case::new(Repeat { times: 1 }, &[&[1, 1]]),
        Case::new(Repeat { times: 3 }, &[&[1]]),
        Case::new(Repeat { times: 5 }, &[&[1, 33, 3]]),
        Case::new(Repeat { times: 33 }, &[&[1, 2, 7]]),
        Case::new(Repeat { times: 2 }, &[&[1, 257]]),
        Case::new(Repeat { times: 256 }, &[&[1, 16, 256]]).real("vt-resnet filter tokenizer, W_A"),
    ]
}
