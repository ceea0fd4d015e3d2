//! RMSProp with momentum and weight decay, in place, as PyTorch and as TensorFlow have it.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::update::{Takes, shared_out, with_copy};
use crate::graph::{Case, Draw, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::Recording;
use crate::reference::{Array, Real};

/// w, g of one type, square and velocity f32 of their shape, rate `f32 [1]`, perhaps factor `f32 [1]` → w', square',
/// velocity'; w, square and velocity are updated in place.
///
/// g' = factor g + weight_decay w; square' = decay square + (1 − decay) g'². As PyTorch's `torch.optim.RMSprop` has it (not
/// centered), velocity' = momentum velocity + g' / (√square' + epsilon) and w' = w − rate velocity'; square starts at 0. As
/// TensorFlow and timm's `RMSpropTF` have it, velocity' = momentum velocity + rate g' / √(square' + epsilon) and w' = w −
/// velocity'; square starts at 1. The rule is Tieleman and Hinton's (2012). A factor of 0 leaves all as it is, whatever g is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RmsProp {
    /// How much of the mean of squares is kept from step to step, 0 to 1: PyTorch's alpha.
    pub decay: f64,
    /// How much of the velocity is kept from step to step, 0 to 1.
    pub momentum: f64,
    /// How strongly weights are drawn to zero, as a part of the gradient.
    pub weight_decay: f64,
    /// What keeps the divisor from 0.
    pub epsilon: f64,
    /// Epsilon inside of the root and the rate inside of the velocity.
    pub tensorflow: bool,
}

/// w f32, g of any type, square and velocity f32, rate `f32 [1]`, factor `f32 [1]`, copy of g's type, all but rate and
/// factor of one shape → w', square', velocity', copy'; w, square, velocity and copy are updated in place.
///
/// [`RmsProp`] for mixed precision: copy' is w' in g's type, which is what networks compute with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RmsPropMixed(pub RmsProp);

kernel! {
    /// One lane an element, or four.
    struct Update = "rms_prop/update" {
        params {
            count: u32, decay: f32, rest: f32, momentum: f32, weight_decay: f32, epsilon: f32, tensorflow: u32
        }
        read { g, rate, factor }
        write { w, square, velocity }
    }
}

kernel! {
    /// One lane an element, or four.
    struct UpdateMixed = "rms_prop/update_mixed" {
        params {
            count: u32, decay: f32, rest: f32, momentum: f32, weight_decay: f32, epsilon: f32, tensorflow: u32
        }
        read { g, rate, factor }
        write { w, square, velocity, copied }
    }
}

const TAKES: Takes = Takes { said: "weights, gradient, square, velocity, rate", state: 2, numbers: &[1] };

impl RmsProp {
    fn moved<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[w, g, square, velocity, rate, ref factor @ ..] = inputs else { return Vec::new() };
        let (factor, rate) = (factor.first().map_or(T::of(1.0), |factor| factor.data[0]), rate.data[0]);
        if factor == T::default() {
            return vec![w.clone(), square.clone(), velocity.clone()];
        }
        let (momentum, weight_decay, epsilon) = (T::of(self.momentum), T::of(self.weight_decay), T::of(self.epsilon));
        let (decay, rest) = (T::of(self.decay), T::of(1.0 - self.decay));
        let slope = g.zip(w, |g, w| factor * g + weight_decay * w);
        let square = square.zip(&slope, |square, slope| decay * square + rest * slope * slope);
        let step = slope.zip(&square, |slope, square| match self.tensorflow {
            true => rate * slope / (square + epsilon).sqrt(),
            false => slope / (square.sqrt() + epsilon),
        });
        let velocity = velocity.zip(&step, |v, step| momentum * v + step);
        let far = if self.tensorflow { T::of(1.0) } else { rate };
        vec![w.zip(&velocity, |w, v| w - far * v), square, velocity]
    }
}

impl Op for RmsProp {
    fn name(&self) -> &'static str {
        "rms_prop"
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
                decay: self.decay as f32,
                rest: (1.0 - self.decay) as f32,
                momentum: self.momentum as f32,
                weight_decay: self.weight_decay as f32,
                epsilon: self.epsilon as f32,
                tensorflow: u32::from(self.tensorflow),
                g: io.input(1),
                rate: io.input(4),
                factor: io.input(factor),
                w: io.output(0),
                square: io.output(1),
                velocity: io.output(2),
            },
            variant.constant("SCALED", u32::from(scaled)),
            grid,
        );
    }

    fn by_element(&self, inputs: &[Tensor]) -> Vec<usize> {
        TAKES.along(inputs, false)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1), (3, 2)]
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for RmsProp {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.moved(inputs)
    }
}

impl Op for RmsPropMixed {
    fn name(&self) -> &'static str {
        "rms_prop_mixed"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        TAKES.mixed(inputs)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (count, variant, grid) = shared_out(io, io.elem(1));
        let Self(rule) = self;
        out.dispatch(
            &UpdateMixed {
                count,
                decay: rule.decay as f32,
                rest: (1.0 - rule.decay) as f32,
                momentum: rule.momentum as f32,
                weight_decay: rule.weight_decay as f32,
                epsilon: rule.epsilon as f32,
                tensorflow: u32::from(rule.tensorflow),
                g: io.input(1),
                rate: io.input(4),
                factor: io.input(5),
                w: io.output(0),
                square: io.output(1),
                velocity: io.output(2),
                copied: io.output(3),
            },
            variant,
            grid,
        );
    }

    fn by_element(&self, inputs: &[Tensor]) -> Vec<usize> {
        TAKES.along(inputs, true)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1), (3, 2), (6, 3)]
    }

    fn functions(&self) -> &'static [Function] {
        self.0.functions()
    }
}

impl Maths for RmsPropMixed {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        with_copy(inputs, self.0.moved(&inputs[..inputs.len() - 1]))
    }
}

const ATTRIBUTES: &[(&str, &str)] = &[
    ("decay", "a number"),
    ("momentum", "a number"),
    ("weight_decay", "a number"),
    ("epsilon", "a number"),
    ("tensorflow", "true or false"),
];

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<RmsProp>(
            "rms_prop",
            "g' = factor g + weight_decay w; square' = decay square + (1 − decay) g'²; velocity' = momentum velocity + g' / (√square' + epsilon), w' = w − rate velocity'; with tensorflow velocity' = momentum velocity + rate g' / √(square' + epsilon), w' = w − velocity'; nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "T [..]"),
                    ("g", "T [..]"),
                    ("square", "f32 [..]"),
                    ("velocity", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("factor?", "f32 [1]"),
                ],
                &[("w'", "T [..]"), ("square'", "f32 [..]"), ("velocity'", "f32 [..]")],
            ],
        ),
        Signature::of::<RmsPropMixed>(
            "rms_prop_mixed",
            "w', square' and velocity' as rms_prop has them; copy' = w' in the copy's type; nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "f32 [..]"),
                    ("g", "T [..]"),
                    ("square", "f32 [..]"),
                    ("velocity", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("factor", "f32 [1]"),
                    ("copy", "T [..]"),
                ],
                &[("w'", "f32 [..]"), ("square'", "f32 [..]"), ("velocity'", "f32 [..]"), ("copy'", "T [..]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let pytorch = RmsProp { decay: 0.9, momentum: 0.9, weight_decay: 0.1, epsilon: 1e-2, tensorflow: false };
    let tensorflow = RmsProp { tensorflow: true, ..pytorch };
    let plain = RmsProp { momentum: 0.0, weight_decay: 0.0, ..pytorch };
    let fixed = |case: Case, f32s: &[usize]| {
        f32s.iter().fold(case, |case, &at| case.f32(at)).draw(2, Draw::Between(0.1, 2.0)).no_gradient()
    };
    let case = |rule, shape: &[usize]| fixed(Case::new(rule, &[shape, shape, shape, shape, &[1]]), &[2, 3, 4]);
    let scaled =
        |rule, shape: &[usize]| fixed(Case::new(rule, &[shape, shape, shape, shape, &[1], &[1]]), &[2, 3, 4, 5]);
    let mixed = |rule, shape: &[usize]| {
        let case = Case::new(RmsPropMixed(rule), &[shape, shape, shape, shape, &[1], &[1], shape]);
        fixed(case, &[0, 2, 3, 4, 5])
    };
    // An overflow: the factor is 0, and the gradient must not be looked at.
    let overflow = |case: Case| case.draw(1, Draw::Extreme).draw(5, Draw::Between(0.0, 0.0));
    vec![
        case(plain, &[1]),
        case(pytorch, &[257]),
        case(tensorflow, &[3, 3, 5, 7]),
        case(tensorflow, &[4, 64]),
        scaled(tensorflow, &[257]),
        scaled(pytorch, &[4, 64]),
        overflow(scaled(pytorch, &[5, 3])),
        mixed(tensorflow, &[257]),
        mixed(pytorch, &[4, 64]),
        overflow(mixed(tensorflow, &[5, 4])),
        case(tensorflow, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"),
        mixed(tensorflow, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"),
    ]
}
