//! The gradient of batch normalization through the statistics of its batch.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, channels};
use super::{Map, MapBackward};
use crate::graph::{Case, Composition, Cost, Draw, Function, Graph, Io, Maths, Op, Signature, Tensor, Value};
use crate::kernel::{Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, mean, inv_std `f32 [C]`, dy [.., C] → dx [.., C], dgain, dbias `f32 [C]`.
///
/// dbias = Σ dy, dgain = Σ dy x̂, dx = gain inv_std (dy − dbias / n − x̂ dgain / n), with x̂ = (x − mean) inv_std.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNormBackward;

/// The same behind ReLU, of whose y and dy: y, dy [.., C], x [.., C], gain, mean, inv_std `f32 [C]` → dx [.., C], dgain, dbias
/// `f32 [C]`. In place of dy stands 0 where y is not above 0: where ReLU let nothing through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchNormReluBackward;

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
pub(super) const SLOPES: usize = 4;

/// Which inputs are x, gain, mean, inv_std, dy and y; without ReLU dy is named again, and not read as y.
type Places = [usize; 6];
const PLAIN: Places = [0, 1, 2, 3, 4, 4];
const BEHIND_RELU: Places = [2, 3, 4, 5, 1, 0];

fn outputs(inputs: &[Tensor], places: Places) -> Result<Vec<Tensor>, String> {
    let [x, gain, mean, inv_std, dy, y] = places.map(|at| &inputs[at]);
    let vector = Tensor::f32([channels(x, &[("gain", gain), ("mean", mean), ("inv_std", inv_std)])?]);
    match [("dy", dy), ("y", y)].into_iter().find(|(_, tensor)| *tensor != x) {
        Some((name, tensor)) => Err(format!("{name} must be {x} as x and is {tensor}")),
        None => Ok(vec![x.clone(), vector.clone(), vector]),
    }
}

/// What is as large as x is read twice: dx needs sums over all of it.
fn cost(inputs: &[Tensor], outputs: &[Tensor], places: Places) -> Cost {
    let again = inputs.iter().filter(|tensor| **tensor == inputs[places[0]]);
    Cost {
        multiply_adds: 0,
        bytes: inputs.iter().chain(outputs).chain(again).map(|tensor| tensor.bytes() as u64).sum(),
    }
}

/// What was normalized, and the gradient of what came of it; y where ReLU stood behind.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    pub(super) x: View,
    pub(super) dy: View,
    pub(super) y: Option<View>,
}

impl Behind {
    fn build(self, cut: &Cut) -> Variant {
        cut.variant.clone().constant("RELU", self.y.is_some().into())
    }
}

/// The call that sums up the gradients of gain and bias over blocks of rows: a number a channel of every block.
pub(super) fn sums(cut: &Cut, of: Behind, [mean, inv_std]: [View; 2], out: &mut Recording) -> [View; 2] {
    let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
    let [block_dgain, block_dbias] = [cut.partial(out), cut.partial(out)];
    let Behind { x, dy, y } = of;
    let y = y.unwrap_or(dy);
    out.dispatch(
        &BackwardSums { rows, columns, rows_each, x, mean, inv_std, dy, y, block_dgain, block_dbias },
        of.build(cut),
        cut.grid(),
    );
    [block_dgain, block_dbias]
}

/// The call that makes the gradient of x of [`SLOPES`] numbers a channel of every image.
pub(super) fn slope_x(cut: &Cut, of: Behind, slopes: View, dx: View, out: &mut Recording) {
    let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
    let Behind { x, dy, y } = of;
    let y = y.unwrap_or(dy);
    out.dispatch(&BackwardX { rows, columns, rows_each, x, dy, y, slopes, dx }, of.build(cut), cut.grid());
}

fn record(io: &Io<'_>, out: &mut Recording, places: Places) {
    let [x, gain, mean, inv_std, dy, y] = places.map(|at| io.input(at));
    let cut = Cut::of(io.machine, &io.inputs[places[0]]);
    let slopes = out.scratch(SLOPES * cut.channels);
    let of = Behind { x, dy, y: (places == BEHIND_RELU).then_some(y) };
    let [block_dgain, block_dbias] = sums(&cut, of, [mean, inv_std], out);
    let (merging, grid) = cut.merging(io.machine, cut.strips.blocks);
    out.dispatch(
        &BackwardMerge {
            blocks: word(cut.strips.blocks),
            columns: word(cut.channels),
            rows: word(cut.rows),
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
    slope_x(&cut, of, slopes, io.output(0), out);
}

impl Op for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        if inputs.len() != 5 {
            return Err(format!("takes x, gain, mean, inv_std and dy, not {} inputs", inputs.len()));
        }
        outputs(inputs, PLAIN)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        record(io, out, PLAIN);
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(inputs, outputs, PLAIN)
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Op for BatchNormReluBackward {
    fn name(&self) -> &'static str {
        "batch_norm_relu_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        if inputs.len() != 6 {
            return Err(format!("takes y, dy, x, gain, mean and inv_std, not {} inputs", inputs.len()));
        }
        outputs(inputs, BEHIND_RELU)
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        record(io, out, BEHIND_RELU);
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(inputs, outputs, BEHIND_RELU)
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[y, dy, x, gain, mean, inv_std] = inputs else { return Ok(None) };
        let dz = graph.apply_one(MapBackward(Map::Relu), &[y, dy])?;
        let made = graph.apply(BatchNormBackward, &[x, gain, mean, inv_std, dz])?;
        Ok(Some(made.into_iter().map(Some).collect()))
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
            if rows == 1 {
                return T::default(); // one row is its own mean: y does not move when it does
            }
            let slope = dy.data[at] - dbias.data[c] / T::count(rows) - normal(at) * dgain.data[c] / T::count(rows);
            gain.data[c] * inv_std.data[c] * slope
        });
        vec![dx, dgain, dbias]
    }
}

impl Maths for BatchNormReluBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[y, dy, x, gain, mean, inv_std] = inputs else { return Vec::new() };
        let dz = dy.zip(y, |dy, y| if y > T::default() { dy } else { T::default() });
        BatchNormBackward.maths(&[x, gain, mean, inv_std, &dz])
    }
}

pub(super) const SIGNATURES: [Signature; 2] = [
    Signature::of::<BatchNormBackward>(
        "batch_norm_backward",
        "dbias = Σ dy, dgain = Σ dy x̂, dx = gain inv_std (dy − dbias / n − x̂ dgain / n), x̂ = (x − mean) inv_std",
        &[],
        [
            &[
                ("x", "T [.., C]"),
                ("gain", "f32 [C]"),
                ("mean", "f32 [C]"),
                ("inv_std", "f32 [C]"),
                ("dy", "T [.., C]"),
            ],
            &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
        ],
    ),
    Signature::of::<BatchNormReluBackward>(
        "batch_norm_relu_backward",
        "batch_norm_backward of dz = dy where y > 0, and 0 elsewhere",
        &[],
        [
            &[
                ("y", "T [.., C]"),
                ("dy", "T [.., C]"),
                ("x", "T [.., C]"),
                ("gain", "f32 [C]"),
                ("mean", "f32 [C]"),
                ("inv_std", "f32 [C]"),
            ],
            &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
        ],
    ),
];

/// Behind ReLU, as `fused` makes it of two.
pub(super) fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        let case = Case::new(BatchNormReluBackward, &[shape, shape, shape, vector, vector, vector]);
        (3..6).fold(case, Case::f32).draw(5, Draw::Between(0.5, 2.0)).no_gradient()
    };
    vec![case(&[33, 3]), case(&[2, 3, 11, 64]), case(&[600, 160]), case(&[64, 56, 56, 64]).real("resnet50 stage1")]
}
