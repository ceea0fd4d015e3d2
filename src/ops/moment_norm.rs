//! Batch normalization of a linear map of patches, put into the map: from the patches' moments, without what the map makes of them.

use serde::{Deserialize, Serialize};

use super::moment_norm_backward::{MomentNormBackward, SIGNATURE};
use super::{Entry, Fill};
use crate::graph::{Case, Cost, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::{self, Strips};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// weight [.., C], gain, bias, running_mean, running_variance `f32 [C]`, patch_mean `f32 [J]`, covariance `f32 [J, J]` → scaled [.., C],
/// shift, mean, inv_std, running_mean', running_variance' `f32 [C]`; J is how many rows weight has, all axes but the last as one.
///
/// Patches of these moments have sums patch · weight of mean = patch_mean · weight and variance = the diagonal of weightᵀ covariance weight;
/// inv_std = 1 / sqrt(variance + eps). With scale = gain inv_std, scaled = weight scale and shift = bias − mean scale,
/// patch · scaled + shift is what [`BatchNormTrain`](super::BatchNormTrain) makes of the sums. The running averages are updated in
/// place, as there. covariance is symmetric: its lower half is read. Gradients flow from scaled and shift, to weight, gain and bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of this batch in the running averages, 0 to 1.
    pub momentum: f64,
    /// Patches that the moments are of: what makes a variance unbiased.
    pub patches: usize,
}

kernel! {
    /// A workgroup a strip of columns.
    struct Statistics = "moment_norm/statistics" {
        params { rows: u32, columns: u32, patches: u32, eps: f32, momentum: f32 }
        read { weight, patch_mean, covariance }
        write { mean, inv_std, running_mean, running_variance }
    }
}

kernel! {
    /// One lane an element.
    struct Forward = "moment_norm/forward" {
        params { count: u32, columns: u32 }
        read { weight, gain, bias, mean, inv_std }
        write { scaled, shift }
    }
}

/// Rows and columns of a weight that moments fit.
///
/// # Errors
/// A sentence that says what does not fit.
pub(super) fn sizes(
    weight: &Tensor,
    vectors: &[(&str, &Tensor)],
    [patch_mean, covariance]: [&Tensor; 2],
) -> Result<[usize; 2], String> {
    let columns = weight.shape.last().copied().unwrap_or(0);
    if weight.elem == Elem::U32 || columns == 0 {
        return Err(format!("weight must be f32 or f16 [.., C] and is {weight}"));
    }
    let rows = weight.shape.count() / columns;
    let moments = [("patch_mean", patch_mean, vec![rows]), ("covariance", covariance, vec![rows, rows])];
    let vectors = vectors.iter().map(|&(name, tensor)| (name, tensor, vec![columns]));
    for (name, tensor, wanted) in moments.into_iter().chain(vectors) {
        let wanted = Tensor::f32(wanted);
        if *tensor != wanted {
            return Err(format!("{name} must be {wanted}, for weight is {weight}, and is {tensor}"));
        }
    }
    Ok([rows, columns])
}

/// (covariance · weight)[row, column], of the covariance's lower half.
pub(super) fn covaries<T: Real>([covariance, weight]: [&Array<T>; 2], [row, column]: [usize; 2]) -> T {
    let [rows, _] = covariance.dims();
    let columns = weight.data.len() / rows;
    let known = |other: usize| covariance.data[row.max(other) * rows + row.min(other)];
    (0..rows).map(|other| known(other) * weight.data[other * columns + column]).sum()
}

impl Op for MomentNorm {
    fn name(&self) -> &'static str {
        "moment_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [weight, gain, bias, running_mean, running_variance, patch_mean, covariance] = inputs else {
            let takes = "weight, gain, bias, running_mean, running_variance, patch_mean and covariance";
            return Err(format!("takes {takes}, not {} inputs", inputs.len()));
        };
        let running = [("running_mean", running_mean), ("running_variance", running_variance)];
        let vectors = [("gain", gain), ("bias", bias), running[0], running[1]];
        let [_, columns] = sizes(weight, &vectors, [patch_mean, covariance])?;
        let vector = || Tensor::f32([columns]);
        Ok(vec![weight.clone(), vector(), vector(), vector(), vector(), vector()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.inputs[0].shape.count();
        let [rows] = io.input_dims(5);
        let (columns, lanes) = (count / rows, tuning::lanes(io.machine));
        let strips = Strips::merging(io.machine, rows, columns);
        let [weight, gain, bias] = [0, 1, 2].map(|at| io.input(at));
        let [scaled, shift, mean, inv_std, running_mean, running_variance] = [0, 1, 2, 3, 4, 5].map(|at| io.output(at));
        out.dispatch(
            &Statistics {
                rows: word(rows),
                columns: word(columns),
                patches: word(self.patches),
                eps: self.eps as f32,
                momentum: self.momentum as f32,
                weight,
                patch_mean: io.input(5),
                covariance: io.input(6),
                mean,
                inv_std,
                running_mean,
                running_variance,
            },
            strips.build(Variant::of(io.elem(0))),
            Grid::volume(strips.across, 1, 1),
        );
        let (count, columns) = (word(count), word(columns));
        out.dispatch(
            &Forward { count, columns, weight, gain, bias, mean, inv_std, scaled, shift },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
            Grid::over(count as usize, lanes as usize),
        );
    }

    /// What shift is moved by, bias is.
    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let mut gradients = vec![None; node.inputs.len()];
        if grads[..2].iter().all(Option::is_none) {
            return Ok(gradients);
        }
        let mut given = [0; 2].map(|_| None);
        for (at, given) in given.iter_mut().enumerate() {
            let tensor = graph.tensor(node.outputs[at]).clone();
            *given = match grads[at] {
                Some(grad) => Some(grad),
                None => Some(graph.apply_one(Fill { value: 0.0, tensor }, &[])?),
            };
        }
        let [Some(dscaled), Some(dshift)] = given else { return Ok(gradients) };
        let [weight, gain, patch_mean, covariance] = [0, 1, 5, 6].map(|at| node.inputs[at]);
        let [mean, inv_std] = [node.outputs[2], node.outputs[3]];
        let inputs = [weight, gain, mean, inv_std, patch_mean, covariance, dscaled, dshift];
        let made = graph.apply(MomentNormBackward, &inputs)?;
        gradients[..3].copy_from_slice(&[Some(made[0]), Some(made[1]), Some(dshift)]);
        Ok(gradients)
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(3, 4), (4, 5)]
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost([inputs, outputs], inputs[5].shape.count())
    }
}

/// A weight of so many rows, the first input, multiplied by their covariance.
pub(super) fn cost([inputs, outputs]: [&[Tensor]; 2], rows: usize) -> Cost {
    Cost {
        multiply_adds: (inputs[0].shape.count() as u64).saturating_mul(rows as u64),
        bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum(),
    }
}

impl Maths for MomentNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[weight, gain, bias, running_mean, running_variance, patch_mean, covariance] = inputs else {
            return Vec::new();
        };
        let columns = gain.data.len();
        let of_rows = |at: usize| patch_mean.data[at / columns] * weight.data[at];
        let mean = Array::sum_columns(patch_mean.data.len(), columns, of_rows);
        let spread = |at: usize| weight.data[at] * covaries([covariance, weight], [at / columns, at % columns]);
        let variance = Array::sum_columns(patch_mean.data.len(), columns, spread);
        let variance = variance.map(|variance: T| variance.max(T::default()));
        let inv_std = variance.map(|variance: T| T::of(1.0) / (variance + T::of(self.eps)).sqrt());
        let scale = gain.zip(&inv_std, |gain, inv_std| gain * inv_std);
        let scaled = Array::from_fn(&weight.shape, |at| weight.data[at] * scale.data[at % columns]);
        let shift = bias.zip(&mean.zip(&scale, |mean, scale| mean * scale), |bias, off| bias - off);
        let patches = T::count(self.patches);
        let unbiased = variance.map(|variance: T| variance * (patches / T::count(self.patches.max(2) - 1)));
        let towards = |running: T, batch: T| running + T::of(self.momentum) * (batch - running);
        let running = [running_mean.zip(&mean, towards), running_variance.zip(&unbiased, towards)];
        [scaled, shift, mean, inv_std].into_iter().chain(running).collect()
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<MomentNorm>(
            "moment_norm",
            "mean = patch_mean · weight, variance = the diagonal of weightᵀ covariance weight, inv_std = 1 / sqrt(variance + eps); scaled = weight gain inv_std, shift = bias − mean gain inv_std; running' = running + momentum (batch − running), with the variance times patches / (patches − 1)",
            &[
                ("eps", "a number added to the variance"),
                ("momentum", "the weight of this batch in the running averages, 0 to 1"),
                ("patches", "how many patches the moments are of"),
            ],
            [
                &[
                    ("weight", "T [.., C]"),
                    ("gain", "f32 [C]"),
                    ("bias", "f32 [C]"),
                    ("running_mean", "f32 [C]"),
                    ("running_variance", "f32 [C]"),
                    ("patch_mean", "f32 [J]"),
                    ("covariance", "f32 [J, J]"),
                ],
                &[
                    ("scaled", "T [.., C]"),
                    ("shift", "f32 [C]"),
                    ("mean", "f32 [C]"),
                    ("inv_std", "f32 [C]"),
                    ("running_mean'", "f32 [C]"),
                    ("running_variance'", "f32 [C]"),
                ],
            ],
        ),
        SIGNATURE,
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |weight: &[usize], patches: usize, seeds: &[usize]| {
        let columns = [weight[weight.len() - 1]];
        let rows = weight[..weight.len() - 1].iter().product();
        let op = MomentNorm { eps: 1e-2, momentum: 0.1, patches };
        let shapes: [&[usize]; 7] = [weight, &columns, &columns, &columns, &columns, &[rows], &[rows, rows]];
        // A covariance of random numbers is none, but for weights of one sign where its numbers are positive.
        let case = Case::new(op, &shapes).draw(0, Draw::Between(0.1, 1.0)).draw(6, Draw::Between(0.1, 1.0));
        let case = (3..7).fold((1..7).fold(case, Case::f32), Case::constant);
        Case { seeds: seeds.to_vec(), ..case }
    };
    let mut cases = vec![
        case(&[1, 1], 1, &[0, 1]),
        case(&[2, 3], 2, &[0]),
        case(&[5, 7], 31, &[1]),
        case(&[3, 3, 4, 33], 257, &[0, 1]),
        case(&[65, 12], 1_000, &[0, 1]),
        case(&[130, 5], 12, &[0, 1]),
    ];
    cases.push(case(&[7, 7, 3, 576], 64 * 56 * 56, &[0, 1]).real("sac stage 2, batch 64"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::numbers;
    use crate::ops::{BatchNormTrain, Conv2d, PatchMoments};
    use crate::reference::Random;

    /// A convolution with what is put into its weight, beside a batch normalization of what the weight makes.
    #[test]
    fn a_convolution_is_normalized_by_its_weight() {
        let drawn = |name: &str, shape: &[usize]| numbers(&shape.into(), Draw::Normal, &mut Random::named(5, name));
        let raw = drawn("raw", &[2, 5, 7, 3]);
        let weight = drawn("weight", &[3, 3, 3, 4]);
        let [gain, bias, mean, variance] = ["gain", "bias", "mean", "variance"].map(|name| drawn(name, &[4]));
        let plain = Conv2d::new(1, 1).maths(&[&raw, &weight]);
        let norm = BatchNormTrain { eps: 1e-5, momentum: 0.1, relu: false };
        let wanted = norm.maths(&[&plain[0], &gain, &bias, &mean, &variance]);

        let moments = PatchMoments { kernel: 3 }.maths(&[&raw]);
        let norm = MomentNorm { eps: 1e-5, momentum: 0.1, patches: 2 * 5 * 7 };
        let made = norm.maths(&[&weight, &gain, &bias, &mean, &variance, &moments[0], &moments[1]]);
        let found = Conv2d::new(1, 1).maths(&[&raw, &made[0], &made[1]]);
        let found = found.iter().chain(&made[2..]);
        for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
            let worst = wanted.zip(found, |wanted: f64, found| (wanted - found).abs()).data;
            assert!(worst.iter().all(|&off| off < 1e-12), "output {at}: {worst:?}");
        }
    }
}
