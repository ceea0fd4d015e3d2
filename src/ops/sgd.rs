//! Stochastic gradient descent with momentum and weight decay, in place.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// w, g of one type, velocity f32 of their shape, rate `f32 [1]` → w', velocity'; w and velocity are updated in place.
///
/// g' = g + weight_decay w; velocity' = momentum velocity + g'; w' = w − rate velocity', or with Nesterov's momentum
/// w − rate (g' + momentum velocity'). The rule of PyTorch's `torch.optim.SGD` without dampening (the rate stands
/// outside the velocity, unlike Sutskever et al. 2013); velocity starts at zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    /// How much of the velocity is kept from step to step, 0 to 1.
    pub momentum: f64,
    /// How strongly weights are drawn to zero; 0 for vectors such as bias and gain.
    pub weight_decay: f64,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

kernel! {
    /// One lane an element, or four.
    struct Update = "sgd/update" {
        params { count: u32, momentum: f32, weight_decay: f32, nesterov: u32 }
        read { g, rate }
        write { w, velocity }
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [w, g, velocity, rate] = inputs else {
            return Err(format!("takes weights, gradient, velocity and rate, not {} inputs", inputs.len()));
        };
        if w.elem == Elem::U32 {
            return Err("weights must be f32 or f16, not u32".to_owned());
        }
        if g != w {
            return Err(format!("the gradient must be {w} as the weights and is {g}"));
        }
        let wants = Tensor::f32(w.shape.clone());
        if *velocity != wants {
            return Err(format!("velocity must be {wants} and is {velocity}"));
        }
        if *rate != Tensor::f32([1]) {
            return Err(format!("the rate must be f32 [1] and is {rate}"));
        }
        Ok(vec![w.clone(), velocity.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.outputs[0].shape.count();
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(count));
        let count = count / width.elements();
        out.dispatch(
            &Update {
                count: word(count),
                momentum: self.momentum as f32,
                weight_decay: self.weight_decay as f32,
                nesterov: u32::from(self.nesterov),
                g: io.input(1),
                rate: io.input(3),
                w: io.output(0),
                velocity: io.output(1),
            },
            Variant::of(io.elem(0)).piece(width.piece()).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1)]
    }
}

impl Maths for Sgd {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[w, g, velocity, rate] = inputs else { return Vec::new() };
        let (momentum, decay, rate) = (T::of(self.momentum), T::of(self.weight_decay), rate.data[0]);
        let slope = g.zip(w, |g, w| g + decay * w);
        let velocity = velocity.zip(&slope, |v, slope| momentum * v + slope);
        let step = slope.zip(&velocity, |slope, v| if self.nesterov { slope + momentum * v } else { v });
        vec![w.zip(&step, |w, step| w - rate * step), velocity]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Sgd>(
        "sgd",
        "g' = g + weight_decay w; velocity' = momentum velocity + g'; w' = w − rate velocity', with Nesterov's momentum w − rate (g' + momentum velocity')",
        &[("momentum", "a number"), ("weight_decay", "a number"), ("nesterov", "true or false")],
        [
            &[("w", "T [..]"), ("g", "T [..]"), ("velocity", "f32 [..]"), ("rate", "f32 [1]")],
            &[("w'", "T [..]"), ("velocity'", "f32 [..]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |sgd, shape: &[usize]| Case::new(sgd, &[shape, shape, shape, &[1]]).f32(2).f32(3).no_gradient();
    let heavy = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let ahead = Sgd { momentum: 0.9, weight_decay: 0.1, nesterov: true };
    let plain = Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false };
    let mut cases = vec![case(plain, &[1]), case(heavy, &[3, 3, 5, 7]), case(ahead, &[257]), case(ahead, &[4, 64])];
    cases.push(case(heavy, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"));
    cases
}
