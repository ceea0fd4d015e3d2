//! Gradients clipped by the norm of them all, as a factor that updates multiply by.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::loss_scale::looked_at;
use crate::graph::{Case, Draw, Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning};
use crate::reference::{Array, Real};

/// factor `f32 [1]`, then gradients of any shape, f32 or f16 → factor' `f32 [1]`.
///
/// norm = factor √(sum of the squares of all numbers of all gradients); factor' = factor min(1, limit / norm), so that the
/// gradients, times factor', are no longer than the limit together. Pascanu, Mikolov and Bengio 2013, algorithm 1; PyTorch's
/// `torch.nn.utils.clip_grad_norm_` adds 10^-6 to the norm. A factor of 0, which is a step that is skipped, stays 0. Where
/// the sum is beyond f32 factor' is 0: such a step is skipped, too. In mixed precision the loss's scale counts steps whose gradients are
/// not finite; in f32 nobody counts what is skipped here. Where a gradient is no number, factor' is factor: weights become no numbers, and
/// the loss of the next step shows that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipNorm {
    /// The longest that gradients may be, above 0.
    pub limit: f64,
}

kernel! {
    /// One workgroup.
    struct Limit = "clip_norm/limit" {
        params { shares: u32, limit: f32 }
        read { squares, factor }
        write { clipped }
    }
}

impl Op for ClipNorm {
    fn name(&self) -> &'static str {
        "clip_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let one = Tensor::f32([1]);
        match inputs {
            [factor, gradients @ ..] if *factor == one && !gradients.is_empty() => {
                match gradients.iter().any(|gradient| gradient.elem == Elem::U32) {
                    true => Err("gradients must be f32 or f16, not u32".to_owned()),
                    false => Ok(vec![one]),
                }
            }
            _ => Err(format!("takes factor, {one}, and gradients")),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (squares, shares) = looked_at(io, 1, true, out);
        out.dispatch(
            &Limit { shares, limit: self.limit as f32, squares, factor: io.input(0), clipped: io.output(0) },
            Variant::default().constant("WORKGROUP", tuning::lanes(io.machine)),
            Grid::of(1),
        );
    }

    fn gathers(&self) -> Option<usize> {
        Some(1)
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for ClipNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [factor, gradients @ ..] = inputs else { return Vec::new() };
        let square = |array: &&Array<T>| array.data.iter().map(|&g| g * g).sum::<T>();
        let norm = factor.data[0] * gradients.iter().map(square).sum::<T>().sqrt();
        let limit = T::of(self.limit);
        vec![factor.map(|factor| if norm > limit { factor * (limit / norm) } else { factor })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<ClipNorm>(
        "clip_norm",
        "factor' = factor min(1, limit / norm), norm = factor √(sum of the squares of all gradients)",
        &[("limit", "a number above 0")],
        [&[("factor", "f32 [1]"), ("gradients*", "f32 or f16 [..]")], &[("factor'", "f32 [1]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |limit, factor, shapes: &[&[usize]]| {
        let shapes: Vec<&[usize]> = [&[1][..]].into_iter().chain(shapes.iter().copied()).collect();
        Case::new(ClipNorm { limit }, &shapes).f32(0).draw(0, Draw::Between(factor, factor)).no_gradient()
    };
    // Seven of one kind take two dispatches.
    let seven: [&[usize]; 7] = [&[12], &[260], &[4], &[2, 2, 8], &[516], &[16], &[8]];
    vec![
        case(0.5, 1.0, &[&[3]]),
        case(1e3, 1.0, &[&[3, 5], &[8]]),
        case(2.0, 0.25, &[&[257], &[31]]),
        case(2.0, 0.5, &seven),
        case(2.0, 0.0, &[&[5]]),
        // So many shares that lanes of the last kernel take turns.
        case(1.0, 1.0, &[&[65_536], &[65_536], &[65_536], &[65_536], &[260]]),
        // A weight's gradient is f16 where a bias's is f32.
        case(1.0, 0.125, &[&[33], &[16], &[5]]).f32(1).f32(3),
        case(1.0, 1.0, &[&[3, 3, 512, 512], &[512]]).f32(2).real("resnet50 stage4 3x3"),
    ]
}
