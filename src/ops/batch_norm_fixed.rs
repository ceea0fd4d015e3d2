//! Batch normalization with fixed statistics: evaluation, and fine-tuning with frozen averages.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, INPUTS, channels, normalized};
use super::{AWKWARD, Add, Attend, Entry, Fill, Map, MapBackward, by_image, with_tail};
use crate::graph::{
    ByImage, Case, Composition, Draw, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Regrouping,
    Signature, Tensor, Value,
};
use crate::kernel::tuning::{Strips, Width};
use crate::kernel::{Capabilities, Elem, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, bias, mean, variance `f32 [C]`, perhaps shortcut [.., C] → y [.., C] =
/// f(gain (x − mean) / sqrt(variance + eps) + bias + shortcut), where f is ReLU or nothing.
///
/// mean and variance are constants: they have no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormFixed {
    /// Added to the variance.
    pub eps: f64,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

/// x [.., C], gain, mean, variance `f32 [C]`, dy [.., C] → dx [.., C], dgain, dbias `f32 [C]`.
///
/// dx = dy gain inv_std, dgain = Σ dy (x − mean) inv_std, dbias = Σ dy, with inv_std = 1 / sqrt(variance + eps).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormFixedBackward {
    /// Added to the variance.
    pub eps: f64,
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct Forward = "batch_norm_fixed/forward" {
        params { rows: u32, columns: u32, rows_each: u32, eps: f32 }
        read { x, gain, bias, mean, variance, shortcut }
        write { y }
    }
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct Backward = "batch_norm_fixed/backward" {
        params { rows: u32, columns: u32, rows_each: u32, eps: f32 }
        read { x, gain, mean, variance, dy }
        write { dx, block_dgain, block_dbias }
    }
}

kernel! {
    /// A workgroup a strip of channels.
    struct BackwardMerge = "batch_norm_fixed/backward_merge" {
        params { blocks: u32, columns: u32 }
        read { block_dgain, block_dbias }
        write { dgain, dbias }
    }
}

/// The call that adds up what so many blocks of rows left of the gradients of a gain and a bias, each of so many columns, in so many
/// sets of blocks.
pub(super) fn merge_sums(
    machine: &Capabilities,
    [sets, blocks, columns]: [usize; 3],
    [block_dgain, block_dbias]: [View; 2],
    [dgain, dbias]: [View; 2],
    out: &mut Recording,
) {
    let strips = Strips::merging(machine, blocks, columns);
    out.dispatch(
        &BackwardMerge { blocks: word(blocks), columns: word(columns), block_dgain, block_dbias, dgain, dbias },
        strips.build(Variant::of(Elem::F32).piece(Width::One.piece())),
        Grid::volume(strips.across, 1, sets),
    );
}

impl BatchNormFixed {
    /// Without ReLU.
    #[must_use]
    pub const fn new(eps: f64) -> Self {
        Self { eps, relu: false }
    }

    /// factor x + bias, `bias` f32 \[channels\]: what a norm does that has nothing to take away and nothing to divide by.
    pub(super) fn affine(graph: &mut Graph, x: Value, factor: f64, bias: Value) -> Result<Value, GraphError> {
        let tensor = graph.tensor(bias).clone();
        let [gain, mean, variance] =
            [factor, 0.0, 1.0].map(|value| graph.apply_one(Fill { value, tensor: tensor.clone() }, &[]));
        graph.apply_one(Self::new(0.0), &[x, gain?, bias, mean?, variance?])
    }

    /// factor x.
    pub(super) fn scaled(graph: &mut Graph, x: Value, factor: f64) -> Result<Value, GraphError> {
        let channels = graph.tensor(x).shape.last().copied().unwrap_or(1);
        let zero = graph.apply_one(Fill { value: 0.0, tensor: Tensor::f32([channels]) }, &[])?;
        Self::affine(graph, x, factor, zero)
    }
}

impl Op for BatchNormFixed {
    fn name(&self) -> &'static str {
        "batch_norm_fixed"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, gain, bias, mean, variance] | [x, gain, bias, mean, variance, _]) = inputs else {
            let takes = "x, gain, bias, mean, variance and perhaps shortcut";
            return Err(format!("takes {takes}, not {} inputs", inputs.len()));
        };
        if let Some(shortcut) = inputs.get(INPUTS).filter(|shortcut| *shortcut != x) {
            return Err(format!("shortcut must be {x} as x and is {shortcut}"));
        }
        channels(x, &[("gain", gain), ("bias", bias), ("mean", mean), ("variance", variance)])?;
        Ok(vec![x.clone()])
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        let along = &[0, INPUTS][..if inputs.len() > INPUTS { 2 } else { 1 }];
        if inputs[0].shape.len() > 1 { by_image(self, along) } else { None } // else channels
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io.machine, &io.inputs[0]);
        let grid = cut.grid();
        let shortcut = io.inputs.len() > INPUTS;
        out.dispatch(
            &Forward {
                rows: word(cut.rows),
                columns: cut.columns(),
                rows_each: word(cut.strips.rows_each),
                eps: self.eps as f32,
                x: io.input(0),
                gain: io.input(1),
                bias: io.input(2),
                mean: io.input(3),
                variance: io.input(4),
                shortcut: io.input(if shortcut { INPUTS } else { 0 }),
                y: io.output(0),
            },
            cut.variant.constant("RELU", self.relu.into()).constant("SHORTCUT", shortcut.into()),
            grid,
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(mut dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        if self.relu {
            // y is positive where what ReLU saw was.
            dy = graph.apply_one(MapBackward(Map::Relu), &[node.outputs[0], dy])?;
        }
        let inputs = [node.inputs[0], node.inputs[1], node.inputs[3], node.inputs[4], dy];
        let made = graph.apply(BatchNormFixedBackward { eps: self.eps }, &inputs)?;
        let shortcut = node.inputs.get(INPUTS).map(|_| Some(dy));
        Ok(made.into_iter().map(Some).chain([None, None]).chain(shortcut).collect())
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        if !self.relu && inputs.len() <= INPUTS {
            return Ok(None);
        }
        let mut y = graph.apply_one(Self::new(self.eps), &inputs[..INPUTS])?;
        if let Some(&shortcut) = inputs.get(INPUTS) {
            y = graph.apply_one(Add, &[y, shortcut])?;
        }
        if self.relu {
            y = graph.apply_one(Map::Relu, &[y])?;
        }
        Ok(Some(vec![Some(y)]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { relu, ..*self }))
    }

    /// Weights of attention sum to 1: what normalizes the mean of values normalizes the values as well, and they are fewer.
    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let alone = !self.relu && inputs.len() == INPUTS && !inputs[1..].iter().any(|&value| graph.is_updated(value));
        let Some(node) = graph.maker(inputs[0]).filter(|_| alone) else { return Ok(None) };
        let (Some(&attend), &[q, k, v]) = (node.op.downcast::<Attend>(), &node.inputs[..]) else { return Ok(None) };
        let count = |value: Value| graph.graph.tensor(value).shape.count();
        if node.outputs[0] != inputs[0] || count(v) >= count(inputs[0]) {
            return Ok(None);
        }
        graph.pass(inputs[0]);
        let values = graph.graph.apply_one(*self, &[&[v], &inputs[1..]].concat())?;
        let made = graph.graph.apply(attend, &[q, k, values])?;
        Ok(Some(vec![made[0]]))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for BatchNormFixed {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![normalized(self.relu, inputs, [inputs[3], &inverse(inputs[4], self.eps)])]
    }
}

/// 1 / sqrt(variance + eps).
fn inverse<T: Real>(variance: &Array<T>, eps: f64) -> Array<T> {
    variance.map(|variance| T::of(1.0) / (variance + T::of(eps)).sqrt())
}

impl Op for BatchNormFixedBackward {
    fn name(&self) -> &'static str {
        "batch_norm_fixed_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gain, mean, variance, dy] = inputs else {
            return Err(format!("takes x, gain, mean, variance and dy, not {} inputs", inputs.len()));
        };
        let vector = Tensor::f32([channels(x, &[("gain", gain), ("mean", mean), ("variance", variance)])?]);
        if dy != x {
            return Err(format!("dy must be {x} as x and is {dy}"));
        }
        Ok(vec![x.clone(), vector.clone(), vector])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io.machine, &io.inputs[0]);
        let [block_dgain, block_dbias] = [cut.partial(out), cut.partial(out)];
        out.dispatch(
            &Backward {
                rows: word(cut.rows),
                columns: cut.columns(),
                rows_each: word(cut.strips.rows_each),
                eps: self.eps as f32,
                x: io.input(0),
                gain: io.input(1),
                mean: io.input(2),
                variance: io.input(3),
                dy: io.input(4),
                dx: io.output(0),
                block_dgain,
                block_dbias,
            },
            cut.variant.clone(),
            cut.grid(),
        );
        let made = [1, 2].map(|at| io.output(at));
        merge_sums(io.machine, [1, cut.strips.blocks, cut.channels], [block_dgain, block_dbias], made, out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }
}

impl Maths for BatchNormFixedBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, mean, variance, dy] = inputs else { return Vec::new() };
        let channels = gain.data.len();
        let inv_std = inverse(variance, self.eps);
        let rows = x.data.len() / channels;
        let dgain = Array::sum_columns(rows, channels, |at| {
            let c = at % channels;
            dy.data[at] * (x.data[at] - mean.data[c]) * inv_std.data[c]
        });
        let dbias = Array::sum_columns(rows, channels, |at| dy.data[at]);
        let dx = Array::from_fn(&x.shape, |at| {
            let c = at % channels;
            dy.data[at] * gain.data[c] * inv_std.data[c]
        });
        vec![dx, dgain, dbias]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<BatchNormFixed>(
            "batch_norm_fixed",
            "y = gain (x − mean) / sqrt(variance + eps) + bias + shortcut, with relu max(y, 0)",
            &[("eps", "a number added to the variance"), ("relu", "true or false")],
            [
                &[
                    ("x", "T [.., C]"),
                    ("gain", "f32 [C]"),
                    ("bias", "f32 [C]"),
                    ("mean", "f32 [C]"),
                    ("variance", "f32 [C]"),
                    ("shortcut?", "T [.., C]"),
                ],
                &[("y", "T [.., C]")],
            ],
        ),
        Signature::of::<BatchNormFixedBackward>(
            "batch_norm_fixed_backward",
            "dx = dy gain inv_std, dgain = Σ dy (x − mean) inv_std, dbias = Σ dy, inv_std = 1 / sqrt(variance + eps)",
            &[("eps", "a number added to the variance")],
            [
                &[
                    ("x", "T [.., C]"),
                    ("gain", "f32 [C]"),
                    ("mean", "f32 [C]"),
                    ("variance", "f32 [C]"),
                    ("dy", "T [.., C]"),
                ],
                &[("dx", "T [.., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let behind = |shape: &[usize], relu, shortcut: bool| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        let mut shapes = vec![shape, vector, vector, vector, vector];
        shapes.extend(shortcut.then_some(shape));
        let case = Case::new(BatchNormFixed { eps: 1e-5, relu }, &shapes);
        let case = case.constant(3).constant(4).draw(4, Draw::Between(0.1, 2.0));
        (1..INPUTS).fold(case, Case::f32)
    };
    let case = |shape: &[usize]| behind(shape, false, false);
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&rows| case(&[rows, 3])).collect();
    cases.extend([&[2, 3, 5, 64][..], &[1, 1_500, 5], &[1_031, 33], &[600, 160]].map(case));
    cases.extend([(true, false), (true, true), (false, true)].map(|(relu, shortcut)| behind(&[33, 3], relu, shortcut)));
    cases.extend([(&[2, 3, 11, 64][..], true), (&[257, 8], false)].map(|(shape, relu)| behind(shape, relu, true)));
    cases.push(case(&[64, 56, 56, 256]).real("resnet50 stage1"));
    cases.push(behind(&[64, 196, 1024], true, true).real("vt-resnet50 projector"));
    cases
}
