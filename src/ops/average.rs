//! The exponential moving average of a tensor over steps, in place.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::update::shared_out;
use crate::graph::{Case, Draw, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

/// average f32, w of any type and of its shape, perhaps factor `f32 [1]` → average'; updated in place.
///
/// average' = decay average + (1 − decay) w, computed as average + (1 − decay) (w − average), which is exact where the two are equal.
/// Polyak and Juditsky 1992 average over all steps; forgetting the early ones is TensorFlow's `ExponentialMovingAverage` and timm's
/// `ModelEma`, there without a warm-up of the decay. A factor of 0 leaves the average as it is, whatever w is: a step that
/// [`LossScale`](super::LossScale) skips does not count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// How much of the average is kept from step to step, 0 to 1.
    pub decay: f64,
}

kernel! {
    /// One lane an element, or four.
    struct Update = "average/update" {
        params { count: u32, share: f32 }
        read { w, factor }
        write { average }
    }
}

impl Op for Average {
    fn name(&self) -> &'static str {
        "average"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (average, w, factor) = match inputs {
            [average, w] => (average, w, None),
            [average, w, factor] => (average, w, Some(factor)),
            _ => return Err(format!("takes average, w and perhaps factor, not {} inputs", inputs.len())),
        };
        if w.elem == Elem::U32 {
            return Err("w must be f32 or f16, not u32".to_owned());
        }
        let wants = Tensor::f32(w.shape.clone());
        if *average != wants {
            return Err(format!("the average must be {wants}, of w's shape, and is {average}"));
        }
        match factor.filter(|factor| **factor != Tensor::f32([1])) {
            Some(wrong) => Err(format!("factor must be f32 [1] and is {wrong}")),
            None => Ok(vec![wants]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(1));
        let skips = io.inputs.len() > 2;
        let factor = io.input(if skips { 2 } else { 1 });
        out.dispatch(
            &Update { count, share: (1.0 - self.decay) as f32, w: io.input(1), factor, average: io.output(0) },
            variant.constant("SKIPS", u32::from(skips)),
            grid,
        );
    }

    fn by_element(&self, _: &[Tensor]) -> Vec<usize> {
        vec![0, 1]
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl Maths for Average {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[average, w, ref factor @ ..] = inputs else { return Vec::new() };
        if factor.first().is_some_and(|factor| factor.data[0] == T::default()) {
            return vec![average.clone()];
        }
        let share = T::of(1.0 - self.decay);
        vec![average.zip(w, |average, w| average + share * (w - average))]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Average>(
        "average",
        "average' = average + (1 − decay) (w − average); nothing changes where factor is 0",
        &[("decay", "a number, 0 to 1")],
        [&[("average", "f32 [..]"), ("w", "T [..]"), ("factor?", "f32 [1]")], &[("average'", "f32 [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |decay, shape: &[usize]| Case::new(Average { decay }, &[shape, shape]).f32(0).no_gradient();
    let with = |decay, shape: &[usize]| Case::new(Average { decay }, &[shape, shape, &[1]]).f32(0).f32(2).no_gradient();
    // An overflow: the factor is 0, and w must not be looked at.
    let overflow = |case: Case| case.draw(1, Draw::Extreme).draw(2, Draw::Between(0.0, 0.0));
    vec![
        case(0.75, &[1]),
        case(0.9, &[3, 3, 5, 7]),
        case(0.999_85, &[4, 64]),
        case(0.0, &[257]),
        // Zeros are no factor.
        case(0.5, &[7]).draw(1, Draw::Between(0.0, 0.0)),
        with(0.5, &[257]),
        with(0.9, &[4, 64]),
        overflow(with(0.5, &[5, 3])),
        overflow(with(0.5, &[5, 4])),
        case(0.999_85, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"),
    ]
}
