//! Layer normalization: every row by its own mean and variance, and the gradient through both.
//!
//! Ba, Kiros and Hinton 2016.

use serde::{Deserialize, Serialize};

use super::batch_norm_fixed::merge_sums;
use super::{AWKWARD, Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::{self, Rows, Strips};
use crate::kernel::{Elem, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, bias `f32 [C]` → y [.., C], mean, inv_std `f32 [..]`, a number a row.
///
/// mean and variance (divided by C) are those of the row; inv_std = 1 / sqrt(variance + eps); y = gain (x − mean) inv_std + bias.
/// Gradients flow from y alone; mean and inv_std are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

/// x [.., C], gain `f32 [C]`, mean, inv_std `f32 [..]`, dy [.., C] → dx [.., C], dgain, dbias `f32 [C]`.
///
/// With x̂ = (x − mean) inv_std and dz = gain dy: dx = inv_std (dz − Σ dz / C − x̂ Σ dz x̂ / C) along each row; dgain = Σ dy x̂ and
/// dbias = Σ dy over the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerNormBackward;

kernel! {
    /// `ROW_LANES` lanes a row.
    struct Forward = "layer_norm/forward" {
        params { rows: u32, columns: u32, elements: u32, eps: f32 }
        read { x, gain, bias }
        write { y, mean, inv_std }
    }
}

kernel! {
    /// `ROW_LANES` lanes a row.
    struct BackwardX = "layer_norm/backward_x" {
        params { rows: u32, columns: u32, elements: u32 }
        read { x, gain, mean, inv_std, dy }
        write { dx }
    }
}

kernel! {
    /// A workgroup a block of rows and strip of columns.
    struct BackwardSums = "layer_norm/backward_sums" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, mean, inv_std, dy }
        write { block_dgain, block_dbias }
    }
}

/// Rows of x and how long they are, once both are there.
fn rows_of(x: &Tensor) -> Result<[usize; 2], String> {
    match x.shape[..] {
        [.., columns] if x.shape.len() > 1 && columns > 0 && x.elem != Elem::U32 => {
            Ok([x.shape.count() / columns, columns])
        }
        _ => Err(format!("x must be f32 or f16 of two or more axes, the last its rows, and is {x}")),
    }
}

/// That vectors are what they must be.
fn check(vectors: &[(&str, &Tensor, Tensor)]) -> Result<(), String> {
    match vectors.iter().find(|(_, vector, wants)| *vector != wants) {
        Some((name, vector, wants)) => Err(format!("{name} must be {wants} and is {vector}")),
        None => Ok(()),
    }
}

/// mean or inv_std of x: a number a row.
fn statistic(x: &Tensor) -> Tensor {
    Tensor::f32(&x.shape[..x.shape.len() - 1])
}

/// Rows of an op's x, and how long they are.
fn dims(io: &Io<'_>) -> [usize; 2] {
    let columns = io.inputs[0].shape.last().copied().unwrap_or(1);
    [io.inputs[0].shape.count() / columns, columns]
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gain, bias] = inputs else {
            return Err(format!("takes x, gain and bias, not {} inputs", inputs.len()));
        };
        let vector = Tensor::f32([rows_of(x)?[1]]);
        check(&[("gain", gain, vector.clone()), ("bias", bias, vector)])?;
        Ok(vec![x.clone(), statistic(x), statistic(x)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, elements] = dims(io);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, elements);
        out.dispatch(
            &Forward {
                rows: word(rows),
                columns,
                elements: word(elements),
                eps: self.eps as f32,
                x: io.input(0),
                gain: io.input(1),
                bias: io.input(2),
                y: io.output(0),
                mean: io.output(1),
                inv_std: io.output(2),
            },
            variant,
            grid,
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; 3]) };
        let inputs = [node.inputs[0], node.inputs[1], node.outputs[1], node.outputs[2], dy];
        Ok(graph.apply(LayerNormBackward, &inputs)?.into_iter().map(Some).collect())
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for LayerNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, bias] = inputs else { return Vec::new() };
        let columns = gain.data.len();
        let (mut y, mut mean) = (x.clone(), Array::zeros(&x.shape[..x.shape.len() - 1]));
        let mut inv_std = mean.clone();
        for (row, numbers) in y.data.chunks_exact_mut(columns).enumerate() {
            let center = numbers.iter().copied().sum::<T>() / T::count(columns);
            let variance = numbers.iter().map(|&x| (x - center) * (x - center)).sum::<T>() / T::count(columns);
            let scale = T::of(1.0) / (variance + T::of(self.eps)).sqrt();
            for (x, (&gain, &bias)) in numbers.iter_mut().zip(gain.data.iter().zip(&bias.data)) {
                *x = gain * (*x - center) * scale + bias;
            }
            (mean.data[row], inv_std.data[row]) = (center, scale);
        }
        vec![y, mean, inv_std]
    }
}

/// The calls that sum over the rows: in blocks first, then the blocks' sums; in one step where a block holds every row.
fn sums(io: &Io<'_>, out: &mut Recording) {
    let [rows, elements] = dims(io);
    let width = tuning::width(elements);
    let strips = Strips::of(io.machine, rows, elements / width.elements());
    let direct = strips.blocks == 1;
    let mut block = |output: usize| match direct {
        true => io.output(output),
        false => out.scratch(strips.blocks * elements),
    };
    let [block_dgain, block_dbias]: [View; 2] = [1, 2].map(&mut block);
    out.dispatch(
        &BackwardSums {
            rows: word(rows),
            columns: word(elements / width.elements()),
            rows_each: word(strips.rows_each),
            x: io.input(0),
            mean: io.input(2),
            inv_std: io.input(3),
            dy: io.input(4),
            block_dgain,
            block_dbias,
        },
        strips.build(Variant::of(io.elem(0)).piece(width.piece())),
        Grid::volume(strips.across, strips.blocks, 1),
    );
    if !direct {
        let made = [1, 2].map(|at| io.output(at));
        merge_sums(io.machine, [1, strips.blocks, elements], [block_dgain, block_dbias], made, out);
    }
}

impl Op for LayerNormBackward {
    fn name(&self) -> &'static str {
        "layer_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gain, mean, inv_std, dy] = inputs else {
            return Err(format!("takes x, gain, mean, inv_std and dy, not {} inputs", inputs.len()));
        };
        let vector = Tensor::f32([rows_of(x)?[1]]);
        let statistics = [("mean", mean, statistic(x)), ("inv_std", inv_std, statistic(x))];
        check(&statistics)?;
        check(&[("gain", gain, vector.clone()), ("dy", dy, x.clone())])?;
        Ok(vec![x.clone(), vector.clone(), vector])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [rows, elements] = dims(io);
        let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), rows, elements);
        out.dispatch(
            &BackwardX {
                rows: word(rows),
                columns,
                elements: word(elements),
                x: io.input(0),
                gain: io.input(1),
                mean: io.input(2),
                inv_std: io.input(3),
                dy: io.input(4),
                dx: io.output(0),
            },
            variant,
            grid,
        );
        sums(io, out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for LayerNormBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, mean, inv_std, dy] = inputs else { return Vec::new() };
        let columns = gain.data.len();
        let normal = |at: usize| (x.data[at] - mean.data[at / columns]) * inv_std.data[at / columns];
        let mut dx = Array::zeros(&x.shape);
        for (row, slopes) in dx.data.chunks_exact_mut(columns).enumerate() {
            let slope = |c: usize| dy.data[row * columns + c] * gain.data[c];
            let (sum, tilt) = (0..columns).fold((T::default(), T::default()), |(sum, tilt), c| {
                (sum + slope(c), tilt + slope(c) * normal(row * columns + c))
            });
            for (c, dx) in slopes.iter_mut().enumerate() {
                let even = slope(c) - sum / T::count(columns);
                *dx = inv_std.data[row] * (even - normal(row * columns + c) * tilt / T::count(columns));
            }
        }
        let rows = mean.data.len();
        let dgain = Array::sum_columns(rows, columns, |at| dy.data[at] * normal(at));
        let dbias = Array::sum_columns(rows, columns, |at| dy.data[at]);
        vec![dx, dgain, dbias]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<LayerNorm>(
            "layer_norm",
            "row by row, y = gain (x − mean) inv_std + bias, inv_std = 1 / sqrt(variance + eps)",
            &[("eps", "a number added to the variance")],
            [
                &[("x", "T [.., C]"), ("gain", "f32 [C]"), ("bias", "f32 [C]")],
                &[("y", "T [.., C]"), ("mean", "f32 [..]"), ("inv_std", "f32 [..]")],
            ],
        ),
        Signature::of::<LayerNormBackward>(
            "layer_norm_backward",
            "x̂ = (x − mean) inv_std, dz = gain dy; dx = inv_std (dz − Σ dz / C − x̂ Σ dz x̂ / C) along each row; dgain = Σ dy x̂, dbias = Σ dy over the rows",
            &[],
            [
                &[
                    ("x", "T [.., C]"),
                    ("gain", "f32 [C]"),
                    ("mean", "f32 [..]"),
                    ("inv_std", "f32 [..]"),
                    ("dy", "T [.., C]"),
                ],
                &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        Case::new(LayerNorm { eps: 1e-5 }, &[shape, vector, vector]).f32(1).f32(2)
    };
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&rows| case(&[rows, 3])).collect();
    // Rows of one, of a chunk and of several, by one and by four; rows enough for several blocks.
    cases.extend([&[5, 1][..], &[2, 7, 8], &[2, 3, 2, 65], &[3, 257], &[3, 1028], &[600, 20], &[1_031, 33]].map(case));
    // Far from zero: a variance taken as a difference of squares would have no digit right.
    // At 1,000 the numerical derivative has too few digits left too, in f64, to judge the rule by.
    cases.push(case(&[31, 8]).draw(0, Draw::Between(30.0, 31.0)));
    cases.push(case(&[31, 12]).draw(0, Draw::Between(1_000.0, 1_001.0)).no_gradient());
    cases.push(case(&[256, 16, 1024]).real("vt-resnet tokens"));
    cases.push(case(&[64, 196, 768]).real("vit-base tokens"));
    cases
}
