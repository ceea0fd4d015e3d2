//! Sum of two tensors of one shape: y = a + b.

use serde::{Deserialize, Serialize};

use super::{AWKWARD, Entry, by_image};
use crate::graph::{ByImage, Case, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Flat;
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

/// y = a + b, shapes equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Add;

kernel! {
    /// A lane some strips.
    struct Forward = "add/forward" {
        params { strips: u32 }
        read { a, b }
        write { y }
    }
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [a, b] if a == b && a.elem != Elem::U32 => Ok(vec![a.clone()]),
            [_, _] => Err("both sides must have one shape, and be f32 or f16".to_owned()),
            _ => Err("takes two inputs".to_owned()),
        }
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Flat { strips, variant, grid } = Flat::of(io.machine, io.elem(0), io.outputs[0].shape.count());
        out.dispatch(&Forward { strips, a: io.input(0), b: io.input(1), y: io.output(0) }, variant, grid);
    }

    fn backward(&self, _: &Node, grads: &[Option<Value>], _: &mut Graph) -> Gradients {
        Ok(vec![grads[0], grads[0]])
    }
}

impl Maths for Add {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].zip(inputs[1], |a, b| a + b)]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Add>(
        "add",
        "y = a + b",
        &[],
        [&[("a", "T [..]"), ("b", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&n| Case::new(Add, &[&[n, 3], &[n, 3]])).collect();
    // Elements enough for a lane to take several strips, of one and of four.
    cases.extend([[67, 67], [129, 128]].map(|shape| Case::new(Add, &[&shape, &shape])));
    cases.push(Case::new(Add, &[&[64, 56, 56, 256], &[64, 56, 56, 256]]).real("resnet50 stage2 residual"));
    cases
}
