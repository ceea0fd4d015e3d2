//! The gradient of batch normalization through the statistics of its batch.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, channels};
use super::{Map, MapBackward};
use crate::graph::{Case, Composition, Draw, Function, Graph, Io, Maths, Op, Signature, Tensor, Value};
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, mean, inv_std `f32 [C]`, dy [.., C] → dx [.., C], dgain, dbias `f32 [C]`.
///
/// dbias = Σ dz, dgain = Σ dz x̂, dx = gain inv_std (dz − dbias / n − x̂ dgain / n), with x̂ = (x − mean) inv_std and dz = dy.
/// Behind ReLU its y and dy come first, and dz is 0 where y is not above 0: where ReLU lets nothing through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNormBackward {
    /// Whether dy is of ReLU behind the normalization.
    pub relu: bool,
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct BackwardSums = "batch_norm/backward_sums" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, mean, inv_std, dy, y }
        write { block_dgain, block_dbias }
    }
}

kernel! {
    /// A workgroup a strip of channels.
    struct BackwardMerge = "batch_norm/backward_merge" {
        params { blocks: u32, columns: u32, rows: u32 }
        read { block_dgain, block_dbias, gain, mean, inv_std }
        write { dgain, dbias, slopes }
    }
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct BackwardX = "batch_norm/backward_x" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, dy, y, slopes }
        write { dx }
    }
}

/// Numbers that `backward_x` needs of a channel: mean, scale, shift, tilt.
const SLOPES: usize = 4;

impl BatchNormBackward {
    /// Which inputs are x, gain, mean, inv_std, dy; and y, or dy where there is none.
    const fn places(self) -> [usize; 6] {
        if self.relu { [2, 3, 4, 5, 1, 0] } else { [0, 1, 2, 3, 4, 4] }
    }
}

impl Op for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        if inputs.len() != 5 + usize::from(self.relu) {
            let takes = if self.relu { "y, dy, x, gain, mean and inv_std" } else { "x, gain, mean, inv_std and dy" };
            return Err(format!("takes {takes}, not {} inputs", inputs.len()));
        }
        let [x, gain, mean, inv_std, dy, y] = self.places().map(|at| &inputs[at]);
        let vector = Tensor::f32([channels(x, &[("gain", gain), ("mean", mean), ("inv_std", inv_std)])?]);
        match [("dy", dy), ("y", y)].into_iter().find(|(_, tensor)| *tensor != x) {
            Some((name, tensor)) => Err(format!("{name} must be {x} as x and is {tensor}")),
            None => Ok(vec![x.clone(), vector.clone(), vector]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io);
        let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
        let partial = cut.strips.blocks * cut.channels;
        let (block_dgain, block_dbias) = (out.scratch(partial), out.scratch(partial));
        let slopes = out.scratch(SLOPES * cut.channels);
        let [x, gain, mean, inv_std, dy, y] = self.places().map(|at| io.input(at));
        let variant = cut.variant.clone().constant("RELU", self.relu.into());
        out.dispatch(
            &BackwardSums { rows, columns, rows_each, x, mean, inv_std, dy, y, block_dgain, block_dbias },
            variant.clone(),
            cut.grid(),
        );
        let (merging, grid) = cut.merging(io);
        out.dispatch(
            &BackwardMerge {
                blocks: word(cut.strips.blocks),
                columns: word(cut.channels),
                rows,
                block_dgain,
                block_dbias,
                gain,
                mean,
                inv_std,
                dgain: io.output(1),
                dbias: io.output(2),
                slopes,
            },
            merging,
            grid,
        );
        let call = BackwardX { rows, columns, rows_each, x, dy, y, slopes, dx: io.output(0) };
        out.dispatch(&call, variant, cut.grid());
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let (true, &[y, dy, x, gain, mean, inv_std]) = (self.relu, inputs) else { return Ok(None) };
        let dz = graph.apply_one(MapBackward(Map::Relu), &[y, dy])?;
        let made = graph.apply(Self { relu: false }, &[x, gain, mean, inv_std, dz])?;
        Ok(Some(made.into_iter().map(Some).collect()))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for BatchNormBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        if inputs.len() != 5 + usize::from(self.relu) {
            return Vec::new();
        }
        let [x, gain, mean, inv_std, dy, y] = self.places().map(|at| inputs[at]);
        let passes = |dy: T, y: T| if self.relu && y <= T::default() { T::default() } else { dy };
        let dy = dy.zip(y, passes);
        let channels = gain.data.len();
        let rows = x.data.len() / channels;
        let normal = |at: usize| (x.data[at] - mean.data[at % channels]) * inv_std.data[at % channels];
        let dgain = Array::sum_columns(rows, channels, |at| dy.data[at] * normal(at));
        let dbias = Array::sum_columns(rows, channels, |at| dy.data[at]);
        let dx = Array::from_fn(&x.shape, |at| {
            let c = at % channels;
            let slope = dy.data[at] - dbias.data[c] / T::count(rows) - normal(at) * dgain.data[c] / T::count(rows);
            gain.data[c] * inv_std.data[c] * slope
        });
        vec![dx, dgain, dbias]
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<BatchNormBackward>(
    "batch_norm_backward",
    "dbias = Σ dz, dgain = Σ dz x̂, dx = gain inv_std (dz − dbias / n − x̂ dgain / n), x̂ = (x − mean) inv_std; dz = dy; with relu y and dy come first, and dz = 0 where y ≤ 0",
    &[("relu", "true or false")],
    [
        &[("x", "T [.., C]"), ("gain", "f32 [C]"), ("mean", "f32 [C]"), ("inv_std", "f32 [C]"), ("dy", "T [.., C]")],
        &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
    ],
);

/// Behind ReLU, as `fused` makes it of two.
pub(super) fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        let case = Case::new(BatchNormBackward { relu: true }, &[shape, shape, shape, vector, vector, vector]);
        (3..6).fold(case, Case::f32).draw(5, Draw::Between(0.5, 2.0)).no_gradient()
    };
    vec![case(&[33, 3]), case(&[2, 3, 11, 64]), case(&[600, 160]), case(&[64, 56, 56, 64]).real("resnet50 stage1")]
}
