//! Adam with decoupled weight decay, in place, and the correction of its moments for their start at zero.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::update::{Takes, shared_out, with_copy};
use crate::graph::{Case, Draw, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Grid, Recording, Variant, tuning};
use crate::reference::{Array, Real};

/// w, g of one type, first and second f32 of their shape, rate `f32 [1]`, correction `f32 [2]`, perhaps factor `f32 [1]` →
/// w', first', second'; w, first and second are updated in place.
///
/// g' = factor g; first' = beta_1 first + (1 − beta_1) g'; second' = beta_2 second + (1 − beta_2) g'²; with c the
/// correction, w' = w − rate weight_decay w − rate (first' / c₀) / (√(second' / c₁) + epsilon). The rule of PyTorch's
/// `torch.optim.AdamW` (Loshchilov and Hutter 2019, algorithm 2), where c = 1 − beta^step: [`AdamWCorrection`] makes it. The
/// moments start at 0. A factor of 0 leaves all as it is, whatever g is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// How much of the first moment is kept from step to step, 0 to 1.
    pub beta_1: f64,
    /// How much of the second.
    pub beta_2: f64,
    /// How strongly weights are drawn to zero, times the rate, beside the gradient.
    pub weight_decay: f64,
    /// What keeps the divisor from 0.
    pub epsilon: f64,
}

/// w f32, g of any type, first and second f32, rate `f32 [1]`, correction `f32 [2]`, factor `f32 [1]`, copy of g's type, all
/// large ones of one shape → w', first', second', copy'; w, first, second and copy are updated in place.
///
/// [`AdamW`] for mixed precision: copy' is w' in g's type, which is what networks compute with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AdamWMixed(pub AdamW);

/// correction `f32 [2]`, factor `f32 [1]` → correction', updated in place.
///
/// correction' = beta correction + 1 − beta, of beta_1 and of beta_2: from 0 that is 1 − beta^step after each step, without
/// the difference of two numbers near 1. It is what the moments would be if all gradients were 1. It is made on the GPU and
/// kept with the moments, because the CPU does not know which steps are skipped: a factor of 0 leaves it as it is, so that a
/// skipped step does not count (`torch.amp.GradScaler` does not call the optimizer then), and a run that is resumed goes
/// on with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWCorrection {
    /// Of the first moment.
    pub beta_1: f64,
    /// Of the second.
    pub beta_2: f64,
}

kernel! {
    /// One lane an element, or four.
    struct Update = "adamw/update" {
        params { count: u32, beta_1: f32, beta_2: f32, rest_1: f32, rest_2: f32, weight_decay: f32, epsilon: f32 }
        read { g, rate, correction, factor }
        write { w, first, second }
    }
}

kernel! {
    /// One lane an element, or four.
    struct UpdateMixed = "adamw/update_mixed" {
        params { count: u32, beta_1: f32, beta_2: f32, rest_1: f32, rest_2: f32, weight_decay: f32, epsilon: f32 }
        read { g, rate, correction, factor }
        write { w, first, second, copied }
    }
}

kernel! {
    /// One workgroup.
    struct Correct = "adamw/correct" {
        params { beta_1: f32, beta_2: f32, rest_1: f32, rest_2: f32 }
        read { factor }
        write { correction }
    }
}

const TAKES: Takes = Takes { said: "weights, gradient, first, second, rate, correction", state: 2, numbers: &[1, 2] };

impl AdamW {
    fn moved<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[w, g, first, second, rate, correction, ref factor @ ..] = inputs else { return Vec::new() };
        let (factor, rate) = (factor.first().map_or(T::of(1.0), |factor| factor.data[0]), rate.data[0]);
        if factor == T::default() {
            return vec![w.clone(), first.clone(), second.clone()];
        }
        let mean = |old: &Array<T>, beta: f64, new: Array<T>| {
            old.zip(&new, |old, new| T::of(beta) * old + T::of(1.0 - beta) * new)
        };
        let first = mean(first, self.beta_1, g.map(|g| factor * g));
        let second = mean(second, self.beta_2, g.map(|g| factor * g * (factor * g)));
        let [one, two] = [0, 1].map(|at| correction.data[at]);
        let step = first.zip(&second, |m, v| (m / one) / ((v / two).sqrt() + T::of(self.epsilon)));
        let decay = rate * T::of(self.weight_decay);
        vec![w.zip(&step, |w, step| w - decay * w - rate * step), first, second]
    }
}

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
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
                beta_1: self.beta_1 as f32,
                beta_2: self.beta_2 as f32,
                rest_1: (1.0 - self.beta_1) as f32,
                rest_2: (1.0 - self.beta_2) as f32,
                weight_decay: self.weight_decay as f32,
                epsilon: self.epsilon as f32,
                g: io.input(1),
                rate: io.input(4),
                correction: io.input(5),
                factor: io.input(factor),
                w: io.output(0),
                first: io.output(1),
                second: io.output(2),
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
        &[Function::Sqrt, Function::Divide, Function::Divide, Function::Divide]
    }
}

impl Maths for AdamW {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.moved(inputs)
    }
}

impl Op for AdamWMixed {
    fn name(&self) -> &'static str {
        "adamw_mixed"
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
                beta_1: rule.beta_1 as f32,
                beta_2: rule.beta_2 as f32,
                rest_1: (1.0 - rule.beta_1) as f32,
                rest_2: (1.0 - rule.beta_2) as f32,
                weight_decay: rule.weight_decay as f32,
                epsilon: rule.epsilon as f32,
                g: io.input(1),
                rate: io.input(4),
                correction: io.input(5),
                factor: io.input(6),
                w: io.output(0),
                first: io.output(1),
                second: io.output(2),
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
        vec![(0, 0), (2, 1), (3, 2), (7, 3)]
    }

    fn functions(&self) -> &'static [Function] {
        self.0.functions()
    }
}

impl Maths for AdamWMixed {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        with_copy(inputs, self.0.moved(&inputs[..inputs.len() - 1]))
    }
}

impl Op for AdamWCorrection {
    fn name(&self) -> &'static str {
        "adamw_correction"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [correction, factor] if *correction == Tensor::f32([2]) && *factor == Tensor::f32([1]) => {
                Ok(vec![correction.clone()])
            }
            _ => Err("takes correction, f32 [2], and factor, f32 [1]".to_owned()),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        out.dispatch(
            &Correct {
                beta_1: self.beta_1 as f32,
                beta_2: self.beta_2 as f32,
                rest_1: (1.0 - self.beta_1) as f32,
                rest_2: (1.0 - self.beta_2) as f32,
                factor: io.input(1),
                correction: io.output(0),
            },
            Variant::default().constant("WORKGROUP", tuning::lanes(io.machine)),
            Grid::of(1),
        );
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl Maths for AdamWCorrection {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[correction, factor] = inputs else { return Vec::new() };
        if factor.data[0] == T::default() {
            return vec![correction.clone()];
        }
        let betas = [self.beta_1, self.beta_2];
        vec![Array::from_fn(&[2], |at| T::of(betas[at]) * correction.data[at] + T::of(1.0 - betas[at]))]
    }
}

const BETAS: [(&str, &str); 2] = [("beta_1", "a number"), ("beta_2", "a number")];
const ATTRIBUTES: &[(&str, &str)] = &[BETAS[0], BETAS[1], ("weight_decay", "a number"), ("epsilon", "a number")];

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<AdamW>(
            "adamw",
            "g' = factor g; first' = beta_1 first + (1 − beta_1) g'; second' = beta_2 second + (1 − beta_2) g'²; w' = w − rate weight_decay w − rate (first' / correction[0]) / (√(second' / correction[1]) + epsilon); nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "T [..]"),
                    ("g", "T [..]"),
                    ("first", "f32 [..]"),
                    ("second", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("correction", "f32 [2]"),
                    ("factor?", "f32 [1]"),
                ],
                &[("w'", "T [..]"), ("first'", "f32 [..]"), ("second'", "f32 [..]")],
            ],
        ),
        Signature::of::<AdamWMixed>(
            "adamw_mixed",
            "w', first' and second' as adamw has them; copy' = w' in the copy's type; nothing changes where factor is 0",
            ATTRIBUTES,
            [
                &[
                    ("w", "f32 [..]"),
                    ("g", "T [..]"),
                    ("first", "f32 [..]"),
                    ("second", "f32 [..]"),
                    ("rate", "f32 [1]"),
                    ("correction", "f32 [2]"),
                    ("factor", "f32 [1]"),
                    ("copy", "T [..]"),
                ],
                &[("w'", "f32 [..]"), ("first'", "f32 [..]"), ("second'", "f32 [..]"), ("copy'", "T [..]")],
            ],
        ),
        Signature::of::<AdamWCorrection>(
            "adamw_correction",
            "correction' = beta correction + 1 − beta, of beta_1 and of beta_2; as it is where factor is 0",
            &BETAS,
            [&[("correction", "f32 [2]"), ("factor", "f32 [1]")], &[("correction'", "f32 [2]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let usual = AdamW { beta_1: 0.9, beta_2: 0.99, weight_decay: 0.1, epsilon: 1e-2 };
    let plain = AdamW { weight_decay: 0.0, ..usual };
    let fixed = |case: Case, f32s: &[usize]| {
        let case = case.draw(3, Draw::Between(0.1, 2.0)).draw(5, Draw::Between(0.2, 1.0));
        f32s.iter().fold(case, |case, &at| case.f32(at)).no_gradient()
    };
    let case = |rule, shape: &[usize]| fixed(Case::new(rule, &[shape, shape, shape, shape, &[1], &[2]]), &[2, 3, 4, 5]);
    let scaled = |rule, shape: &[usize]| {
        fixed(Case::new(rule, &[shape, shape, shape, shape, &[1], &[2], &[1]]), &[2, 3, 4, 5, 6])
    };
    let mixed = |rule, shape: &[usize]| {
        let case = Case::new(AdamWMixed(rule), &[shape, shape, shape, shape, &[1], &[2], &[1], shape]);
        fixed(case, &[0, 2, 3, 4, 5, 6])
    };
    // An overflow: the factor is 0, and the gradient must not be looked at.
    let overflow = |case: Case| case.draw(1, Draw::Extreme).draw(6, Draw::Between(0.0, 0.0));
    let correct = |beta_1, factor| {
        let rule = AdamWCorrection { beta_1, beta_2: 0.999 };
        let case = Case::new(rule, &[&[2], &[1]]).f32(0).f32(1).draw(0, Draw::Between(0.0, 0.01)).no_gradient();
        case.draw(1, Draw::Between(factor, factor))
    };
    vec![
        case(plain, &[1]),
        case(usual, &[257]),
        case(usual, &[3, 3, 5, 7]),
        case(plain, &[4, 64]),
        scaled(usual, &[257]),
        scaled(plain, &[4, 64]),
        overflow(scaled(usual, &[5, 3])),
        mixed(usual, &[257]),
        mixed(plain, &[4, 64]),
        overflow(mixed(usual, &[5, 4])),
        correct(0.9, 0.5),
        correct(0.8, 0.0),
        case(usual, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"),
        mixed(usual, &[3, 3, 512, 512]).real("resnet50 stage4 3x3"),
    ]
}
