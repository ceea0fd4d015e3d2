//! Dynamic loss scaling, decided on the GPU: are all gradients finite, and what becomes of the scale?

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::graph::{Case, Draw, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::Width;
use crate::kernel::{Elem, Grid, Recording, Variant, View, tuning, word};
use crate::reference::{Array, Real};

/// scale, steps, skipped `f32 [1]`, then gradients of any shape, f32 or f16 → factor, scale', steps', skipped' `f32 [1]`;
/// scale, steps and skipped are updated in place.
///
/// The loss is multiplied by the scale before gradients are taken, so that f16 holds the small ones too; they are
/// multiplied by the factor when weights are updated. Where every number of every gradient is finite, factor = 1 / scale,
/// and after `interval` such steps in a row the scale grows. Where one is not, factor = 0, which updates take to leave
/// everything as it is; the scale shrinks, and the step is counted as skipped. The rule of PyTorch's
/// `torch.amp.GradScaler`, within bounds: the scale stays between [`LossScale::LEAST`] and [`LossScale::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// What the scale is multiplied by after `interval` steps without overflow.
    pub growth: f64,
    /// What it is multiplied by after an overflow.
    pub backoff: f64,
    /// Steps without overflow in a row until it grows.
    pub interval: u32,
}

impl LossScale {
    /// The largest scale: a loss of some hundred rows overflows f16 with it where a single gradient is near 1.
    pub const MOST: f64 = 16_777_216.0;
    /// The smallest: with it gradients of 10^12 still fit f16.
    pub const LEAST: f64 = 1.0 / Self::MOST;
}

impl Default for LossScale {
    /// As PyTorch has it.
    fn default() -> Self {
        Self { growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Inputs before the gradients.
const STATE: usize = 3;
/// Gradients that a dispatch looks at: 8 bindings, of which one is written, and one is left over.
const AT_ONCE: usize = 6;
/// Workgroups a gradient at most, where there are many: they take turns over it.
const SHARES: usize = 64;
/// Workgroups of all gradients together, where there are few.
const ALL_SHARES: usize = 2048;

kernel! {
    /// A workgroup a share of one of six tensors.
    struct Look = "loss_scale/look" {
        params {
            first: u32, strips_0: u32, strips_1: u32, strips_2: u32, strips_3: u32, strips_4: u32, strips_5: u32
        }
        read { tensor_0, tensor_1, tensor_2, tensor_3, tensor_4, tensor_5 }
        write { found }
    }
}

kernel! {
    /// One workgroup.
    struct Decide = "loss_scale/decide" {
        params { shares: u32, interval: u32, growth: f32, backoff: f32, most: f32, least: f32 }
        read { found }
        write { factor, scale, steps, skipped }
    }
}

/// Gradients that one dispatch looks at: inputs of one type, each so many strips, cut into so many shares.
struct Batch {
    elem: Elem,
    width: Width,
    inputs: Vec<(usize, usize)>,
    shares: usize,
}

impl Batch {
    /// The gradients, which are the inputs from `from` on, in order, by type and width.
    fn all(io: &Io<'_>, from: usize, lanes: usize) -> Vec<Self> {
        let kind = |at: usize| (io.elem(at), tuning::width(io.inputs[at].shape.count()));
        let at_most = SHARES.max(ALL_SHARES / io.inputs.len().saturating_sub(from).max(1));
        let mut batches = Vec::new();
        for (elem, width) in
            [Elem::F32, Elem::F16].into_iter().flat_map(|elem| [(elem, Width::One), (elem, Width::Four)])
        {
            let alike: Vec<(usize, usize)> = (from..io.inputs.len())
                .filter(|&at| kind(at) == (elem, width))
                .map(|at| (at, io.inputs[at].shape.count() / width.elements()))
                .collect();
            batches.extend(alike.chunks(AT_ONCE).map(|inputs| {
                let most = inputs.iter().map(|&(_, strips)| strips).max().unwrap_or(1);
                Self { elem, width, inputs: inputs.to_vec(), shares: most.div_ceil(lanes).clamp(1, at_most) }
            }));
        }
        batches
    }
}

/// Records a look at the gradients, which are the inputs from `from` on: a number a share, and how many. It is the sum of the
/// share's squares, or without `squares` 1 where something is not finite, else 0.
pub(super) fn looked_at(io: &Io<'_>, from: usize, squares: bool, out: &mut Recording) -> (View, u32) {
    let lanes = tuning::lanes(io.machine);
    let batches = Batch::all(io, from, lanes as usize);
    let shares: usize = batches.iter().map(|batch| batch.shares * batch.inputs.len()).sum();
    let found = out.scratch(shares);
    let mut first = 0;
    for Batch { elem, width, inputs, shares } in batches {
        // Bindings without a tensor hold the first once more; no workgroup asks for them.
        let tensor = |at: usize| io.input(inputs.get(at).map_or(inputs[0].0, |&(input, _)| input));
        let strips = |at: usize| inputs.get(at).map_or(0, |&(_, strips)| word(strips));
        out.dispatch(
            &Look {
                first: word(first),
                strips_0: strips(0),
                strips_1: strips(1),
                strips_2: strips(2),
                strips_3: strips(3),
                strips_4: strips(4),
                strips_5: strips(5),
                tensor_0: tensor(0),
                tensor_1: tensor(1),
                tensor_2: tensor(2),
                tensor_3: tensor(3),
                tensor_4: tensor(4),
                tensor_5: tensor(5),
                found,
            },
            Variant::of(elem).piece(width.piece()).constant("WORKGROUP", lanes).constant("SQUARES", u32::from(squares)),
            Grid::volume(shares, inputs.len(), 1),
        );
        first += shares * inputs.len();
    }
    (found, word(first))
}

impl Op for LossScale {
    fn name(&self) -> &'static str {
        "loss_scale"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let one = Tensor::f32([1]);
        let Some((state, gradients)) = inputs.split_at_checked(STATE).filter(|(_, gradients)| !gradients.is_empty())
        else {
            return Err(format!("takes scale, steps, skipped and gradients, not {} inputs", inputs.len()));
        };
        if let Some(wrong) = state.iter().find(|tensor| **tensor != one) {
            return Err(format!("scale, steps and skipped must be {one}, and one is {wrong}"));
        }
        if gradients.iter().any(|gradient| gradient.elem == Elem::U32) {
            return Err("gradients must be f32 or f16, not u32".to_owned());
        }
        Ok(vec![one.clone(), one.clone(), one.clone(), one])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (found, shares) = looked_at(io, STATE, false, out);
        out.dispatch(
            &Decide {
                shares,
                interval: self.interval,
                growth: self.growth as f32,
                backoff: self.backoff as f32,
                most: Self::MOST as f32,
                least: Self::LEAST as f32,
                found,
                factor: io.output(0),
                scale: io.output(1),
                steps: io.output(2),
                skipped: io.output(3),
            },
            Variant::default().constant("WORKGROUP", tuning::lanes(io.machine)),
            Grid::of(1),
        );
    }

    fn gathers(&self) -> Option<usize> {
        Some(STATE)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 1), (1, 2), (2, 3)]
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for LossScale {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [scale, steps, skipped] = [0, 1, 2].map(|at| inputs[at].data[0]);
        let finite = |array: &&Array<T>| array.data.iter().all(|number| number.to_f64().is_finite());
        let (zero, one) = (T::default(), T::of(1.0));
        let made = if !inputs[STATE..].iter().all(finite) {
            [zero, T::max(scale * T::of(self.backoff), T::of(Self::LEAST)), zero, skipped + one]
        } else if steps + one >= T::of(f64::from(self.interval)) {
            let (grown, most) = (scale * T::of(self.growth), T::of(Self::MOST));
            [one / scale, if grown > most { most } else { grown }, zero, skipped]
        } else {
            [one / scale, scale, steps + one, skipped]
        };
        made.map(|number| Array { shape: vec![1], data: vec![number] }).into()
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<LossScale>(
        "loss_scale",
        "where all gradients are finite: factor = 1 / scale, steps' = steps + 1, and where that reaches interval, scale' = min(growth scale, 2^24), steps' = 0; else factor = 0, scale' = max(backoff scale, 2^-24), steps' = 0, skipped' = skipped + 1",
        &[("growth", "a number"), ("backoff", "a number"), ("interval", "a whole number of steps")],
        [
            &[("scale", "f32 [1]"), ("steps", "f32 [1]"), ("skipped", "f32 [1]"), ("gradients*", "f32 or f16 [..]")],
            &[("factor", "f32 [1]"), ("scale'", "f32 [1]"), ("steps'", "f32 [1]"), ("skipped'", "f32 [1]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    const FINITE: Draw = Draw::Normal;
    let case = |interval, gradients: &[(&[usize], Draw)]| {
        let rule = LossScale { growth: 2.0, backoff: 0.5, interval };
        let shapes: Vec<&[usize]> =
            [&[1][..]; STATE].into_iter().chain(gradients.iter().map(|(shape, _)| *shape)).collect();
        let case = Case::new(rule, &shapes).f32(0).f32(1).f32(2).no_gradient();
        // Three steps were finite; a scale between 2 and 1,024.
        let case = case.draw(0, Draw::Between(2.0, 1024.0)).draw(1, Draw::Between(3.0, 3.0));
        gradients.iter().enumerate().fold(case, |case, (at, &(_, draw))| case.draw(STATE + at, draw))
    };
    let mut cases = vec![
        case(5, &[(&[1], FINITE)]),
        case(4, &[(&[3, 5], FINITE), (&[8], FINITE)]),
        case(5, &[(&[4], Draw::Extreme), (&[31], FINITE)]),
        case(5, &[(&[257], Draw::Overflow)]),
        case(5, &[(&[64, 300], Draw::Overflow)]),
    ];
    // Seven of one kind take two dispatches; each place finds what is there.
    let mut shapes: [&[usize]; 7] = [&[12], &[260], &[4], &[2, 2, 8], &[516], &[16], &[8]];
    for place in 0..shapes.len() {
        shapes.rotate_left(1);
        let draw = |(at, shape)| (shape, if at == place { Draw::Overflow } else { FINITE });
        let drawn: Vec<(&[usize], Draw)> = shapes.into_iter().enumerate().map(draw).collect();
        cases.push(case(5, &drawn));
    }
    // Numbers whose bits are those of the exponent alone; and so many shares that lanes of the last kernel take turns.
    shapes.reverse();
    cases.push(case(5, &shapes.map(|shape| (shape, Draw::Between(1.0, 1.0)))));
    let large = (&[65_536][..], FINITE);
    cases.push(case(5, &[large, large, large, large, (&[260], Draw::Overflow)]));
    let at_the_ends = case(4, &[(&[3], FINITE)]).draw(0, Draw::Between(LossScale::MOST, LossScale::MOST));
    cases.push(at_the_ends);
    cases.push(case(4, &[(&[7], Draw::Overflow)]).draw(0, Draw::Between(LossScale::LEAST, LossScale::LEAST)));
    // A weight's gradient is f16 where a bias's is f32.
    cases.push(case(5, &[(&[33], Draw::Overflow), (&[16], FINITE), (&[5], FINITE)]).f32(STATE).f32(STATE + 2));
    cases.push(case(2000, &[(&[3, 3, 512, 512], FINITE), (&[512], FINITE)]).f32(STATE + 1).real("resnet50 stage4 3x3"));
    cases
}
