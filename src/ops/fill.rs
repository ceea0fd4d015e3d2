//! A tensor that holds one number everywhere: where a backward pass starts.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// () → a tensor whose elements are all `value`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// The number, rounded to what the tensor can hold.
    pub value: f64,
    /// The tensor to make, f32 or f16.
    #[serde(flatten)]
    pub tensor: Tensor,
}

kernel! {
    /// One lane an element, or four.
    struct Forward = "fill/forward" {
        params { count: u32, value: f32 }
        read {}
        write { y }
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        if !inputs.is_empty() {
            return Err(format!("takes no input, not {}", inputs.len()));
        }
        if self.tensor.elem == Elem::U32 {
            return Err(format!("makes tensors of f32 or f16, not {}", self.tensor));
        }
        Ok(vec![self.tensor.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = self.tensor.shape.count();
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(count));
        let count = count / width.elements();
        out.dispatch(
            &Forward { count: word(count), value: self.value as f32, y: io.output(0) },
            Variant::of(self.tensor.elem).piece(width.piece()).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }
}

impl Maths for Fill {
    fn maths<T: Real>(&self, _: &[&Array<T>]) -> Vec<Array<T>> {
        vec![Array::from_fn(&self.tensor.shape, |_| T::of(self.value))]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Fill>(
        "fill",
        "y = value everywhere",
        &[("value", "a number"), ("shape", "a list of sizes"), ("elem", "\"f32\" or \"f16\"")],
        [&[], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let fill = |shape: &[usize], elem| Case::new(Fill { value: -1.7, tensor: Tensor::new(shape, elem) }, &[]);
    [Elem::F32, Elem::F16]
        .into_iter()
        .flat_map(|elem| [fill(&[1], elem), fill(&[7, 33], elem), fill(&[3, 5, 64], elem)])
        .map(Case::no_gradient)
        .collect()
}
