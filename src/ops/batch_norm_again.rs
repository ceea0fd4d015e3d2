//! Batch normalization applied a second time, with the statistics that the first time found.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, INPUTS, Normal, channels, normalize, normalized};
use super::{AWKWARD, Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Io, Maths, Op, Signature, Tensor};
use crate::kernel::Recording;
use crate::reference::{Array, Real};

/// x [.., C], gain, bias, mean, inv_std `f32 [C]`, perhaps shortcut [.., C] → y [.., C], as
/// [`BatchNormTrain`](super::BatchNormTrain) made it: by the same kernel, and nothing is updated. For backward passes that do
/// not keep y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNormAgain {
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

impl Op for BatchNormAgain {
    fn name(&self) -> &'static str {
        "batch_norm_again"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, gain, bias, mean, inv_std] | [x, gain, bias, mean, inv_std, _]) = inputs else {
            return Err(format!(
                "takes x, gain, bias, mean, inv_std and perhaps shortcut, not {} inputs",
                inputs.len()
            ));
        };
        if let Some(shortcut) = inputs.get(INPUTS).filter(|shortcut| *shortcut != x) {
            return Err(format!("shortcut must be {x} as x and is {shortcut}"));
        }
        channels(x, &[("gain", gain), ("bias", bias), ("mean", mean), ("inv_std", inv_std)])?;
        Ok(vec![x.clone()])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        let along = [0, INPUTS];
        let along = if inputs.len() > INPUTS { &along[..] } else { &along[..1] };
        if inputs[0].shape.len() > 1 { by_image(self, along) } else { None } // else channels
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [x, gain, bias, mean, inv_std] = [0, 1, 2, 3, 4].map(|at| io.input(at));
        let shortcut = (io.inputs.len() > INPUTS).then(|| io.input(INPUTS));
        let of = Normal { x, gain, bias, mean, inv_std, shortcut, y: io.output(0) };
        normalize(self.relu, Cut::of(io.machine, &io.inputs[0]), of, out);
    }
}

impl Maths for BatchNormAgain {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![normalized(self.relu, inputs, [inputs[3], inputs[4]])]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<BatchNormAgain>(
        "batch_norm_again",
        "y = gain (x − mean) inv_std + bias + shortcut, with relu max(y, 0)",
        &[("relu", "true or false")],
        [
            &[
                ("x", "T [.., C]"),
                ("gain", "f32 [C]"),
                ("bias", "f32 [C]"),
                ("mean", "f32 [C]"),
                ("inv_std", "f32 [C]"),
                ("shortcut?", "T [.., C]"),
            ],
            &[("y", "T [.., C]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let behind = |shape: &[usize], relu, shortcut: bool| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        let mut shapes = vec![shape, vector, vector, vector, vector];
        shapes.extend(shortcut.then_some(shape));
        let case = Case::new(BatchNormAgain { relu }, &shapes).draw(4, Draw::Between(0.5, 2.0)).no_gradient();
        (1..INPUTS).fold(case, Case::f32)
    };
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&rows| behind(&[rows, 3], false, false)).collect();
    cases.extend([(true, false), (true, true), (false, true)].map(|(relu, shortcut)| behind(&[33, 3], relu, shortcut)));
    cases.extend([(&[2, 3, 11, 64][..], true), (&[1_031, 33], false)].map(|(shape, relu)| behind(shape, relu, true)));
    cases.push(behind(&[64, 56, 56, 64], true, false).real("resnet50 stage1, again"));
    cases
}
