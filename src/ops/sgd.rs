//! Stochastic gradient descent with momentum and weight decay, in place.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::update::{Takes, shared_out, with_copy};
use crate::graph::{Case, Draw, Io, Maths, Op, Signature, Tensor};
use crate::kernel::Recording;
use crate::reference::{Array, Real};

/// w, g of one type, velocity f32 of their shape, rate `f32 [1]`, perhaps factor `f32 [1]` → w', velocity'; w and
/// velocity are updated in place.
///
/// g' = factor g + weight_decay w; velocity' = momentum velocity + g'; w' = w − rate velocity', or with Nesterov's
/// momentum w − rate (g' + momentum velocity'). The rule of PyTorch's `torch.optim.SGD` without dampening (the rate
/// stands outside the velocity, unlike Sutskever et al. 2013); velocity starts at zero. The factor undoes the scale of
/// the loss, and 0 leaves w and velocity as they are, whatever g is: [`LossScale`](super::LossScale) makes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    /// How much of the velocity is kept from step to step, 0 to 1.
    pub momentum: f64,
    /// How strongly weights are drawn to zero; 0 for vectors such as bias and gain.
    pub weight_decay: f64,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// w f32, g of any type, velocity f32, rate `f32 [1]`, factor `f32 [1]`, copy of g's type, all but rate and factor of
/// one shape → w', velocity', copy'; w, velocity and copy are updated in place.
///
/// [`Sgd`] for mixed precision: copy' is w' in g's type, which is what networks compute with, and w keeps what is too
/// small for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SgdMixed(pub Sgd);

kernel! {
    /// One lane an element, or four.
    struct Update = "sgd/update" {
        params { count: u32, momentum: f32, weight_decay: f32, nesterov: u32 }
        read { g, rate, factor }
        write { w, velocity }
    }
}

kernel! {
    /// One lane an element, or four.
    struct UpdateMixed = "sgd/update_mixed" {
        params { count: u32, momentum: f32, weight_decay: f32, nesterov: u32 }
        read { g, rate, factor }
        write { w, velocity, copied }
    }
}

const TAKES: Takes = Takes { said: "weights, gradient, velocity, rate", state: 1, numbers: &[1] };

impl Sgd {
    fn moved<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[w, g, velocity, rate, ref factor @ ..] = inputs else { return Vec::new() };
        let (factor, rate) = (factor.first().map_or(T::of(1.0), |factor| factor.data[0]), rate.data[0]);
        if factor == T::default() {
            return vec![w.clone(), velocity.clone()];
        }
        let (momentum, decay) = (T::of(self.momentum), T::of(self.weight_decay));
        let slope = g.zip(w, |g, w| factor * g + decay * w);
        let velocity = velocity.zip(&slope, |v, slope| momentum * v + slope);
        let step = slope.zip(&velocity, |slope, v| if self.nesterov { slope + momentum * v } else { v });
        vec![w.zip(&step, |w, step| w - rate * step), velocity]
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        TAKES.plain(inputs)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(0));
        let (factor, scaled) = TAKES.factor(io);
        out.dispatch(
            &Update {
                count,
                momentum: self.momentum as f32,
                weight_decay: self.weight_decay as f32,
                nesterov: u32::from(self.nesterov),
                g: io.input(1),
                rate: io.input(3),
                factor: io.input(factor),
                w: io.output(0),
                velocity: io.output(1),
            },
            variant.constant("SCALED", u32::from(scaled)),
            grid,
        );
    }

    fn by_element(&self, inputs: &[Tensor]) -> Vec<usize> {
        TAKES.along(inputs, false)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1)]
    }
}

impl Maths for Sgd {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.moved(inputs)
    }
}

impl Op for SgdMixed {
    fn name(&self) -> &'static str {
        "sgd_mixed"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        TAKES.mixed(inputs)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(1));
        out.dispatch(
            &UpdateMixed {
                count,
                momentum: self.0.momentum as f32,
                weight_decay: self.0.weight_decay as f32,
                nesterov: u32::from(self.0.nesterov),
                g: io.input(1),
                rate: io.input(3),
                factor: io.input(4),
                w: io.output(0),
                velocity: io.output(1),
                copied: io.output(2),
            },
            variant,
            grid,
        );
    }

    fn by_element(&self, inputs: &[Tensor]) -> Vec<usize> {
        TAKES.along(inputs, true)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1), (5, 2)]
    }
}

impl Maths for SgdMixed {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        with_copy(inputs, self.0.moved(&inputs[..inputs.len() - 1]))
    }
}

const ATTRIBUTES: &[(&str, &str)] =
    &[("momentum", "a number"), ("weight_decay", "a number"), ("nesterov", "true or false")];

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Sgd>(
            "sgd",
            "g' = factor g + weight_decay w; velocity' = momentum velocity + g'; w' = w − rate velocity', with Nesterov's momentum w − rate (g' + momentum velocity'); nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "T [..]"),
                    ("g", "T [..]"),
                    ("velocity", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("factor?", "f32 [1]"),
                ],
                &[("w'", "T [..]"), ("velocity'", "f32 [..]")],
            ],
        ),
        Signature::of::<SgdMixed>(
            "sgd_mixed",
            "w' and velocity' as sgd has them; copy' = w' in the copy's type; nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "f32 [..]"),
                    ("g", "T [..]"),
                    ("velocity", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("factor", "f32 [1]"),
                    ("copy", "T [..]"),
                ],
                &[("w'", "f32 [..]"), ("velocity'", "f32 [..]"), ("copy'", "T [..]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let heavy = Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    let ahead = Sgd { momentum: 0.9, weight_decay: 0.1, nesterov: true };
    let plain = Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false };
    let case = |sgd, shape: &[usize]| Case::new(sgd, &[shape, shape, shape, &[1]]).f32(2).f32(3).no_gradient();
    let scaled =
        |sgd, shape: &[usize]| Case::new(sgd, &[shape, shape, shape, &[1], &[1]]).f32(2).f32(3).f32(4).no_gradient();
    let mixed = |sgd, shape: &[usize]| {
        let case = Case::new(SgdMixed(sgd), &[shape, shape, shape, &[1], &[1], shape]);
        [0, 2, 3, 4].into_iter().fold(case, Case::f32).no_gradient()
    };
    // An overflow: the factor is 0, and the gradient must not be looked at.
    let overflow = |case: Case| case.draw(1, Draw::Extreme).draw(4, Draw::Between(0.0, 0.0));
    let mut cases = vec![case(plain, &[1]), case(heavy, &[3, 3, 5, 7]), case(ahead, &[257]), case(ahead, &[4, 64])];
    cases.extend([scaled(ahead, &[257]), scaled(heavy, &[4, 64]), overflow(scaled(heavy, &[5, 3]))]);
    cases.extend([mixed(heavy, &[257]), mixed(ahead, &[4, 64]), overflow(mixed(ahead, &[5, 4]))]);
    cases.push(case(heavy, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"));
    cases.push(mixed(heavy, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"));
    cases
}
