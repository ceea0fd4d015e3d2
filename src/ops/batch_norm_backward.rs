//! The gradient of batch normalization through the statistics of its batch.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, channels};
use crate::graph::{Function, Io, Maths, Op, Signature, Tensor};
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, mean, inv_std `f32 [C]`, dy [.., C] → dx [.., C], dgain, dbias `f32 [C]`.
///
/// dbias = Σ dy, dgain = Σ dy x̂, dx = gain inv_std (dy − dbias / n − x̂ dgain / n), with x̂ = (x − mean) inv_std.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNormBackward;

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct BackwardSums = "batch_norm/backward_sums" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, mean, inv_std, dy }
        write { block_dgain, block_dbias }
    }
}

kernel! {
    /// A workgroup a strip of channels.
    struct BackwardMerge = "batch_norm/backward_merge" {
        params { blocks: u32, columns: u32 }
        read { block_dgain, block_dbias }
        write { dgain, dbias }
    }
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct BackwardX = "batch_norm/backward_x" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, gain, mean, inv_std, dy, dgain, dbias }
        write { dx }
    }
}

impl Op for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gain, mean, inv_std, dy] = inputs else {
            return Err(format!("takes x, gain, mean, inv_std and dy, not {} inputs", inputs.len()));
        };
        let vector = Tensor::f32([channels(x, &[("gain", gain), ("mean", mean), ("inv_std", inv_std)])?]);
        if dy != x {
            return Err(format!("dy must be {x} as x and is {dy}"));
        }
        Ok(vec![x.clone(), vector.clone(), vector])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io);
        let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
        let partial = cut.strips.blocks * cut.channels;
        let (block_dgain, block_dbias) = (out.scratch(partial), out.scratch(partial));
        let (x, gain, mean, inv_std, dy) = (io.input(0), io.input(1), io.input(2), io.input(3), io.input(4));
        out.dispatch(
            &BackwardSums { rows, columns, rows_each, x, mean, inv_std, dy, block_dgain, block_dbias },
            cut.variant.clone(),
            cut.grid(),
        );
        let (variant, grid) = cut.merging(io);
        let (dgain, dbias) = (io.output(1), io.output(2));
        let (blocks, channels) = (word(cut.strips.blocks), word(cut.channels));
        out.dispatch(
            &BackwardMerge { blocks, columns: channels, block_dgain, block_dbias, dgain, dbias },
            variant,
            grid,
        );
        let grid = cut.grid();
        let dx = io.output(0);
        out.dispatch(
            &BackwardX { rows, columns, rows_each, x, gain, mean, inv_std, dy, dgain, dbias, dx },
            cut.variant,
            grid,
        );
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for BatchNormBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, mean, inv_std, dy] = inputs else { return Vec::new() };
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
    "dbias = Σ dy, dgain = Σ dy x̂, dx = gain inv_std (dy − dbias / n − x̂ dgain / n), x̂ = (x − mean) inv_std",
    &[],
    [
        &[("x", "T [.., C]"), ("gain", "f32 [C]"), ("mean", "f32 [C]"), ("inv_std", "f32 [C]"), ("dy", "T [.., C]")],
        &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
    ],
);
