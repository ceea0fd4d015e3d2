//! The same numbers seen in another shape: no kernel runs and no memory is taken.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Gradients, Graph, Io, Maths, Node, Op, Shape, Signature, Tensor, Value};
use crate::kernel::Recording;
use crate::reference::{Array, Real};

/// x in another shape of as many elements, the order in memory unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// The shape of the output.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let (has, wants) = (x.shape.count(), self.shape.count());
        if has != wants {
            return Err(format!(
                "{} holds {has} elements and {} holds {wants}: both must hold as many",
                x.shape, self.shape
            ));
        }
        Ok(vec![x.shaped(self.shape.clone())])
    }

    fn record(&self, _: &Io<'_>, _: &mut Recording) {}

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let shape = graph.tensor(node.inputs[0]).shape.clone();
        Ok(vec![Some(graph.apply_one(Self { shape }, &[dy])?)])
    }

    fn is_view(&self) -> bool {
        true
    }
}

impl Maths for Reshape {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![Array { shape: self.shape.to_vec(), data: inputs[0].data.clone() }]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Reshape>(
        "reshape",
        "y = x in another shape, the order in memory unchanged",
        &[("shape", "a list of sizes with the product of those of x")],
        [&[("x", "T [..]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let to = |shape: &[usize], from: &[usize]| Case::new(Reshape { shape: Shape::from(shape) }, &[from]);
    vec![to(&[1], &[1, 1, 1]), to(&[2, 35, 3], &[2, 5, 7, 3]), to(&[2, 5, 7, 3], &[70, 3])]
}
