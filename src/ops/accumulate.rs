//! Gradients of several micro-batches, summed in f32 and at last their mean.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::update::shared_out;
use crate::graph::{Case, Draw, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

/// sum f32, g of any type and of its shape → sum' = sum + g, updated in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulate;

/// sum f32, g of any type and of its shape → mean of g's type, sum'; sum is updated in place.
///
/// mean = (sum + g) / count: with [`Accumulate`] for the count − 1 gradients before g, the mean of them all. sum' = 0, whatever sum was,
/// infinity and NaN among it: the next sum begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulated {
    /// How many gradients the mean is of, g among them.
    pub count: u32,
}

kernel! {
    /// One lane an element, or four.
    struct AddTo = "accumulate/add" {
        params { count: u32 }
        read { g }
        write { sum }
    }
}

kernel! {
    /// One lane an element, or four.
    struct Mean = "accumulate/mean" {
        params { count: u32, share: f32 }
        read { g }
        write { sum, mean }
    }
}

/// The sum's tensor, once it is known to be one of such gradients.
fn sum_of(inputs: &[Tensor]) -> Result<Tensor, String> {
    let [sum, g] = inputs else { return Err(format!("takes sum and g, not {} inputs", inputs.len())) };
    if g.elem == Elem::U32 {
        return Err("g must be f32 or f16, not u32".to_owned());
    }
    let wants = Tensor::f32(g.shape.clone());
    match *sum == wants {
        true => Ok(wants),
        false => Err(format!("the sum must be {wants}, of g's shape, and is {sum}")),
    }
}

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![sum_of(inputs)?])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(1));
        out.dispatch(&AddTo { count, g: io.input(1), sum: io.output(0) }, variant, grid);
    }

    fn by_element(&self, _: &[Tensor]) -> Vec<usize> {
        vec![0, 1]
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl Maths for Accumulate {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].zip(inputs[1], |sum, g| sum + g)]
    }
}

impl Op for Accumulated {
    fn name(&self) -> &'static str {
        "accumulated"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let sum = sum_of(inputs)?;
        match self.count {
            0 => Err("the mean of no gradients: count must be 1 or more".to_owned()),
            _ => Ok(vec![inputs[1].clone(), sum]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(1));
        let share = (1.0 / f64::from(self.count)) as f32;
        out.dispatch(&Mean { count, share, g: io.input(1), sum: io.output(1), mean: io.output(0) }, variant, grid);
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 1)]
    }
}

impl Maths for Accumulated {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let share = T::of(1.0 / f64::from(self.count));
        let mean = inputs[0].zip(inputs[1], |sum, g| share * (sum + g));
        vec![mean, inputs[0].map(|_| T::default())]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Accumulate>(
            "accumulate",
            "sum' = sum + g",
            &[],
            [&[("sum", "f32 [..]"), ("g", "T [..]")], &[("sum'", "f32 [..]")]],
        ),
        Signature::of::<Accumulated>(
            "accumulated",
            "mean = (sum + g) / count, sum' = 0",
            &[("count", "a whole number of gradients, 1 or more")],
            [&[("sum", "f32 [..]"), ("g", "T [..]")], &[("mean", "T [..]"), ("sum'", "f32 [..]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[1], &[3, 3, 5, 7], &[257], &[4, 64]];
    let add = |shape: &[usize]| Case::new(Accumulate, &[shape, shape]).f32(0).no_gradient();
    let mean = |count, shape: &[usize]| Case::new(Accumulated { count }, &[shape, shape]).f32(0).no_gradient();
    let mut cases: Vec<Case> = shapes.iter().map(|shape| add(shape)).collect();
    cases.extend(
        [(1, shapes[0]), (3, shapes[1]), (4, shapes[2]), (7, shapes[3])].map(|(count, shape)| mean(count, shape)),
    );
    // A sum that has overflown is gone all the same.
    cases.push(mean(2, &[5, 4]).draw(0, Draw::Overflow));
    cases.push(add(&[3, 3, 512, 512]).real("resnet50 stage4 3x3"));
    cases.push(mean(4, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"));
    cases
}
