//! The gradient of a batch normalization that was put into a weight.

use serde::{Deserialize, Serialize};

use super::moment_norm::{cost, covaries, sizes};
use crate::graph::{Cost, Io, Maths, Op, Signature, Tensor};
use crate::kernel::tuning::{self, Strips};
use crate::kernel::{Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// weight [.., C], gain, mean, inv_std `f32 [C]`, patch_mean `f32 [J]`, covariance `f32 [J, J]`, dscaled [.., C], dshift `f32 [C]` →
/// dweight [.., C], dgain `f32 [C]`.
///
/// With scale = gain inv_std and dscale = Σ over rows of dscaled weight − dshift mean: dgain = dscale inv_std,
/// dweight = (dscaled − patch_mean dshift) scale − dscale gain inv_std³ (covariance · weight).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MomentNormBackward;

kernel! {
    /// A workgroup a strip of columns.
    struct Slopes = "moment_norm/slopes" {
        params { rows: u32, columns: u32 }
        read { weight, gain, mean, inv_std, dscaled, dshift }
        write { dgain, slopes }
    }
}

kernel! {
    /// One lane an element.
    struct Backward = "moment_norm/backward" {
        params { rows: u32, columns: u32 }
        read { weight, patch_mean, covariance, slopes, dscaled, dshift }
        write { dweight }
    }
}

impl Op for MomentNormBackward {
    fn name(&self) -> &'static str {
        "moment_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [weight, gain, mean, inv_std, patch_mean, covariance, dscaled, dshift] = inputs else {
            let takes = "weight, gain, mean, inv_std, patch_mean, covariance, dscaled and dshift";
            return Err(format!("takes {takes}, not {} inputs", inputs.len()));
        };
        let vectors = [("gain", gain), ("mean", mean), ("inv_std", inv_std), ("dshift", dshift)];
        sizes(weight, &vectors, [patch_mean, covariance])?;
        if dscaled != weight {
            return Err(format!("dscaled must be {weight} as weight and is {dscaled}"));
        }
        Ok(vec![weight.clone(), gain.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.inputs[0].shape.count();
        let [rows] = io.input_dims(4);
        let (columns, lanes) = (count / rows, tuning::lanes(io.machine));
        let strips = Strips::merging(io.machine, rows, columns);
        let slopes = out.scratch(2 * columns);
        let [weight, gain, mean, inv_std, patch_mean, covariance, dscaled, dshift] =
            [0, 1, 2, 3, 4, 5, 6, 7].map(|at| io.input(at));
        let (rows, columns) = (word(rows), word(columns));
        out.dispatch(
            &Slopes { rows, columns, weight, gain, mean, inv_std, dscaled, dshift, dgain: io.output(1), slopes },
            strips.build(Variant::of(io.elem(0))),
            Grid::volume(strips.across, 1, 1),
        );
        out.dispatch(
            &Backward { rows, columns, weight, patch_mean, covariance, slopes, dscaled, dshift, dweight: io.output(0) },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost([inputs, outputs], inputs[4].shape.count())
    }
}

impl Maths for MomentNormBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[weight, gain, mean, inv_std, patch_mean, covariance, dscaled, dshift] = inputs else {
            return Vec::new();
        };
        let columns = gain.data.len();
        let direct = Array::sum_columns(patch_mean.data.len(), columns, |at| dscaled.data[at] * weight.data[at]);
        let dscale = Array::from_fn(&[columns], |at| direct.data[at] - dshift.data[at] * mean.data[at]);
        let dweight = Array::from_fn(&weight.shape, |at| {
            let (row, column) = (at / columns, at % columns);
            let spread = inv_std.data[column];
            let scale = gain.data[column] * spread;
            let direct = dscaled.data[at] - patch_mean.data[row] * dshift.data[column];
            let slope = dscale.data[column] * scale * spread * spread;
            direct * scale - slope * covaries([covariance, weight], [row, column])
        });
        vec![dweight, dscale.zip(inv_std, |dscale, inv_std| dscale * inv_std)]
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<MomentNormBackward>(
    "moment_norm_backward",
    "the gradients of moment_norm for its weight and gain, from those of scaled and shift; that for its bias is dshift",
    &[],
    [
        &[
            ("weight", "T [.., C]"),
            ("gain", "f32 [C]"),
            ("mean", "f32 [C]"),
            ("inv_std", "f32 [C]"),
            ("patch_mean", "f32 [J]"),
            ("covariance", "f32 [J, J]"),
            ("dscaled", "T [.., C]"),
            ("dshift", "f32 [C]"),
        ],
        &[("dweight", "T [.., C]"), ("dgain", "f32 [C]")],
    ],
);
