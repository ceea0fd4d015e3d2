//! Batch normalization in training: statistics of this batch, running averages, and the gradient through both.
//!
//! Ioffe and Szegedy 2015, algorithm 1; the running averages as PyTorch keeps them.

use serde::{Deserialize, Serialize};

use super::{AWKWARD, BatchNormAgain, BatchNormBackward, Entry, Map, MapBackward, with_tail};
use crate::graph::{
    Case, Cost, Draw, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Repetition, Signature, Tensor, Value,
};
use crate::kernel::tuning::{self, Strips, Width};
use crate::kernel::{Capabilities, Elem, Grid, Recording, Variant, View, word};
use crate::reference::{Array, Real};

/// x [.., C], gain, bias, running_mean, running_variance `f32 [C]`, perhaps shortcut [.., C] → y [.., C], mean, inv_std,
/// running_mean', running_variance' `f32 [C]`; the running averages are updated in place.
///
/// mean and variance are taken for each channel over all other axes (n rows); inv_std = 1 / sqrt(variance + eps);
/// y = f(gain (x − mean) inv_std + bias + shortcut), where f is ReLU or nothing. running' = running + momentum (batch − running), where the batch's variance
/// is the unbiased one, divided by n − 1; of a single row, which has none, by 1. Gradients flow from y alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormTrain {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of this batch in the running averages, 0 to 1.
    pub momentum: f64,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct Statistics = "batch_norm/statistics" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x }
        write { origin, block_mean, block_m2 }
    }
}

kernel! {
    /// A workgroup a strip of channels.
    struct Merge = "batch_norm/merge" {
        params { rows: u32, columns: u32, blocks: u32, rows_each: u32, eps: f32, momentum: f32 }
        read { origin, block_mean, block_m2 }
        write { mean, inv_std, running_mean, running_variance }
    }
}

kernel! {
    /// A workgroup a block of rows and strip of channels.
    struct Forward = "batch_norm/forward" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, gain, bias, mean, inv_std, shortcut }
        write { y }
    }
}

/// Inputs without a shortcut.
pub(super) const INPUTS: usize = 5;

/// Channels of x, once it holds floats and every vector is f32 and as long.
pub(super) fn channels(x: &Tensor, vectors: &[(&str, &Tensor)]) -> Result<usize, String> {
    let Some(&channels) = x.shape.last() else { return Err("x must have an axis of channels, its last".to_owned()) };
    if x.elem == Elem::U32 {
        return Err("x must be f32 or f16, not u32".to_owned());
    }
    let wants = Tensor::f32([channels]);
    match vectors.iter().find(|(_, vector)| **vector != wants) {
        Some((name, vector)) => Err(format!("{name} must be {wants}, a number a channel of x, and is {vector}")),
        None => Ok(channels),
    }
}

/// How the rows of x, all axes but the last as one, are cut among workgroups.
pub(super) struct Cut {
    /// Sets of rows that have statistics of their own.
    pub(super) images: usize,
    /// Rows of a set.
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) width: Width,
    pub(super) strips: Strips,
    pub(super) variant: Variant,
}

impl Cut {
    /// For what is normalized over all its rows.
    pub(super) fn of(machine: &Capabilities, x: &Tensor) -> Self {
        Self::of_images(machine, x, 1)
    }

    /// For so many images that are normalized each by itself.
    pub(super) fn of_images(machine: &Capabilities, x: &Tensor, images: usize) -> Self {
        let channels = x.shape.last().copied().unwrap_or(1);
        let rows = x.shape.count() / channels / images;
        let width = tuning::width(channels);
        let strips = Strips::of_each(machine, images, rows, channels / width.elements());
        let variant = strips.build(Variant::of(x.elem).piece(width.piece()));
        Self { images, rows, channels, width, strips, variant }
    }

    /// What a lane works on at once, counted along a row.
    pub(super) fn columns(&self) -> u32 {
        word(self.channels / self.width.elements())
    }

    pub(super) fn grid(&self) -> Grid {
        Grid::volume(self.strips.across, self.strips.blocks, self.images)
    }

    /// A number a channel of every block.
    pub(super) fn partial(&self, out: &mut Recording) -> View {
        out.scratch(self.images * self.strips.blocks * self.channels)
    }

    /// The build and the grid of a kernel that merges what so many blocks left.
    pub(super) fn merging(&self, machine: &Capabilities, blocks: usize) -> (Variant, Grid) {
        let strips = Strips::merging(machine, blocks, self.channels);
        (strips.build(Variant::of(Elem::F32).piece(Width::One.piece())), Grid::volume(strips.across, 1, 1))
    }

    /// The build and the grid of a kernel that merges what the blocks of every image left, as wide as x is read.
    pub(super) fn merging_images(&self, machine: &Capabilities, elem: Elem) -> (Variant, Grid) {
        let strips = Strips::merging(machine, self.strips.blocks, self.channels / self.width.elements());
        let variant = strips.build(Variant::of(elem).piece(self.width.piece()));
        (variant, Grid::volume(strips.across, 1, self.images))
    }
}

/// What makes y, and y.
pub(super) struct Normal {
    pub(super) x: View,
    pub(super) gain: View,
    pub(super) bias: View,
    pub(super) mean: View,
    pub(super) inv_std: View,
    pub(super) shortcut: Option<View>,
    pub(super) y: View,
}

/// The call that makes y once `mean` and `inv_std` are known.
pub(super) fn normalize(relu: bool, cut: Cut, of: Normal, out: &mut Recording) {
    let grid = cut.grid();
    let flags = [("RELU", relu), ("SHORTCUT", of.shortcut.is_some())];
    let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
    let variant = flags.into_iter().fold(cut.variant, |variant, (name, flag)| variant.constant(name, flag.into()));
    let Normal { x, gain, bias, mean, inv_std, shortcut, y } = of;
    let shortcut = shortcut.unwrap_or(x);
    out.dispatch(&Forward { rows, columns, rows_each, x, gain, bias, mean, inv_std, shortcut, y }, variant, grid);
}

/// Moments of blocks of rows, as scratch.
pub(super) struct Blocks {
    /// What the means are measured from, if not from 0.
    pub(super) origin: Option<View>,
    pub(super) mean: View,
    /// Sums of squared deviations from it.
    pub(super) m2: View,
    pub(super) count: usize,
    /// Rows of a block; the last may have fewer.
    pub(super) rows_each: usize,
}

/// The call that takes moments of x.
pub(super) fn statistics(cut: &Cut, x: View, out: &mut Recording) -> Blocks {
    let (count, rows_each) = (cut.strips.blocks, cut.strips.rows_each);
    let (origin, mean, m2) = (out.scratch(cut.images * cut.channels), cut.partial(out), cut.partial(out));
    let (rows, columns) = (word(cut.rows), cut.columns());
    out.dispatch(
        &Statistics { rows, columns, rows_each: word(rows_each), x, origin, block_mean: mean, block_m2: m2 },
        cut.variant.clone(),
        cut.grid(),
    );
    Blocks { origin: Some(origin), mean, m2, count, rows_each }
}

/// y of [`normalize`]: x, gain, bias and perhaps shortcut are the first three inputs and the last.
pub(super) fn normalized<T: Real>(relu: bool, inputs: &[&Array<T>], [mean, inv_std]: [&Array<T>; 2]) -> Array<T> {
    let [x, gain, bias] = [0, 1, 2].map(|at| inputs[at]);
    Array::from_fn(&x.shape, |at| {
        let c = at % gain.data.len();
        let mut y = gain.data[c] * (x.data[at] - mean.data[c]) * inv_std.data[c] + bias.data[c];
        if let Some(shortcut) = inputs.get(INPUTS) {
            y += shortcut.data[at];
        }
        if relu && y < T::default() { T::default() } else { y }
    })
}

impl BatchNormTrain {
    /// The call that makes mean, inv_std and the next running averages of what the blocks left.
    pub(super) fn merge(
        self,
        machine: &Capabilities,
        cut: &Cut,
        blocks: &Blocks,
        made: [View; 4],
        out: &mut Recording,
    ) {
        let (variant, grid) = cut.merging(machine, blocks.count);
        let [mean, inv_std, running_mean, running_variance] = made;
        out.dispatch(
            &Merge {
                rows: word(cut.rows),
                columns: word(cut.channels),
                blocks: word(blocks.count),
                rows_each: word(blocks.rows_each),
                eps: self.eps as f32,
                momentum: self.momentum as f32,
                origin: blocks.origin.unwrap_or(blocks.mean),
                block_mean: blocks.mean,
                block_m2: blocks.m2,
                mean,
                inv_std,
                running_mean,
                running_variance,
            },
            variant.constant("ORIGIN", blocks.origin.is_some().into()),
            grid,
        );
    }

    /// Adds what makes the gradients of x, gain and bias from y's; beside them that of what ReLU saw, a shortcut's.
    pub(super) fn gradients(
        self,
        [x, gain, mean, inv_std, y]: [Value; 5],
        mut dy: Value,
        graph: &mut Graph,
    ) -> Result<(Vec<Value>, Value), GraphError> {
        if self.relu {
            // y is positive where what ReLU saw was: that need not be kept.
            dy = graph.apply_one(MapBackward(Map::Relu), &[y, dy])?;
        }
        Ok((graph.apply(BatchNormBackward, &[x, gain, mean, inv_std, dy])?, dy))
    }
}

impl Op for BatchNormTrain {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, gain, bias, mean, variance] | [x, gain, bias, mean, variance, _]) = inputs else {
            let takes = "x, gain, bias, running_mean, running_variance and perhaps shortcut";
            return Err(format!("takes {takes}, not {} inputs", inputs.len()));
        };
        if let Some(shortcut) = inputs.get(INPUTS).filter(|shortcut| *shortcut != x) {
            return Err(format!("shortcut must be {x} as x and is {shortcut}"));
        }
        let vectors = [("gain", gain), ("bias", bias), ("running_mean", mean), ("running_variance", variance)];
        let vector = Tensor::f32([channels(x, &vectors)?]);
        Ok(vec![x.clone(), vector.clone(), vector.clone(), vector.clone(), vector])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io.machine, &io.inputs[0]);
        let blocks = statistics(&cut, io.input(0), out);
        self.merge(io.machine, &cut, &blocks, [1, 2, 3, 4].map(|at| io.output(at)), out);
        let [x, gain, bias] = [0, 1, 2].map(|at| io.input(at));
        let shortcut = (io.inputs.len() > INPUTS).then(|| io.input(INPUTS));
        let [y, mean, inv_std] = [0, 1, 2].map(|at| io.output(at));
        normalize(self.relu, cut, Normal { x, gain, bias, mean, inv_std, shortcut, y }, out);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let ([x, gain], [y, mean, inv_std]) = ([0, 1].map(|at| node.inputs[at]), [0, 1, 2].map(|at| node.outputs[at]));
        let (made, dy) = self.gradients([x, gain, mean, inv_std, y], dy, graph)?;
        let shortcut = node.inputs.get(INPUTS).map(|_| Some(dy));
        Ok(made.into_iter().map(Some).chain([None, None]).chain(shortcut).collect())
    }

    /// y follows from the statistics, which are small and kept, and nothing is updated a second time.
    fn again(&self, node: &Node, graph: &mut Graph) -> Repetition {
        let [_, mean, inv_std, next_mean, next_variance] = node.outputs[..] else { return Ok(None) };
        let shortcut = node.inputs.get(INPUTS).copied();
        let [x, gain, bias] = [0, 1, 2].map(|at| node.inputs[at]);
        let inputs: Vec<Value> = [x, gain, bias, mean, inv_std].into_iter().chain(shortcut).collect();
        let y = graph.apply_one(BatchNormAgain { relu: self.relu }, &inputs)?;
        Ok(Some(vec![y, mean, inv_std, next_mean, next_variance]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { relu, ..*self }))
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(3, 3), (4, 4)]
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }

    /// x is read twice: once for its moments.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let each = inputs.iter().chain(outputs).chain(&inputs[..1]);
        Cost { multiply_adds: 0, bytes: each.map(|tensor| tensor.bytes() as u64).sum() }
    }
}

impl Maths for BatchNormTrain {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, _, running_mean, running_variance] = &inputs[..INPUTS] else { return Vec::new() };
        let channels = gain.data.len();
        let rows = x.data.len() / channels;
        let mean = Array::sum_columns(rows, channels, |at| x.data[at] / T::count(rows));
        let variance = Array::sum_columns(rows, channels, |at| {
            let off = x.data[at] - mean.data[at % channels];
            off * off / T::count(rows)
        });
        let inv_std = variance.map(|variance: T| T::of(1.0) / (variance + T::of(self.eps)).sqrt());
        let y = normalized(self.relu, inputs, [&mean, &inv_std]);
        let unbiased = variance.map(|variance: T| variance * T::count(rows) / T::count((rows - 1).max(1)));
        let towards = |running: T, batch: T| running + T::of(self.momentum) * (batch - running);
        let running = [running_mean.zip(&mean, towards), running_variance.zip(&unbiased, towards)];
        [y, mean, inv_std].into_iter().chain(running).collect()
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<BatchNormTrain>(
            "batch_norm",
            "over all axes but the last, y = gain (x − mean) inv_std + bias + shortcut, with relu max(y, 0), inv_std = 1 / sqrt(variance + eps); running' = running + momentum (batch − running), with the unbiased variance",
            &[
                ("eps", "a number added to the variance"),
                ("momentum", "the weight of this batch in the running averages, 0 to 1"),
                ("relu", "true or false"),
            ],
            [
                &[
                    ("x", "T [.., C]"),
                    ("gain", "f32 [C]"),
                    ("bias", "f32 [C]"),
                    ("running_mean", "f32 [C]"),
                    ("running_variance", "f32 [C]"),
                    ("shortcut?", "T [.., C]"),
                ],
                &[
                    ("y", "T [.., C]"),
                    ("mean", "f32 [C]"),
                    ("inv_std", "f32 [C]"),
                    ("running_mean'", "f32 [C]"),
                    ("running_variance'", "f32 [C]"),
                ],
            ],
        ),
        super::batch_norm_backward::SIGNATURES[0],
        super::batch_norm_backward::SIGNATURES[1],
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let behind = |shape: &[usize], relu, shortcut: bool| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        let norm = BatchNormTrain { eps: 1e-5, momentum: 0.1, relu };
        let mut shapes = vec![shape, vector, vector, vector, vector];
        shapes.extend(shortcut.then_some(shape));
        let case = Case::new(norm, &shapes).constant(3).constant(4);
        (1..INPUTS).fold(case, Case::f32)
    };
    let case = |shape: &[usize]| behind(shape, false, false);
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&rows| case(&[rows, 3])).collect();
    cases.extend([&[2, 3, 5, 64][..], &[1, 1_500, 5], &[1_031, 33], &[9, 257], &[600, 160]].map(case));
    // Far from zero: a variance taken as a difference of squares would have no digit right.
    // At 1,000 the numerical derivative has too few digits left too, in f64, to judge the rule by.
    cases.push(case(&[257, 8]).draw(0, Draw::Between(30.0, 31.0)));
    cases.push(case(&[257, 12]).draw(0, Draw::Between(1_000.0, 1_001.0)).no_gradient());
    cases.extend([(true, false), (true, true), (false, true)].map(|(relu, shortcut)| behind(&[33, 3], relu, shortcut)));
    cases.push(behind(&[2, 3, 11, 64], true, true));
    cases.push(case(&[64, 112, 112, 64]).real("resnet50 stem"));
    cases.push(case(&[64, 56, 56, 256]).real("resnet50 stage1"));
    cases.push(behind(&[64, 56, 56, 256], true, true).real("resnet50 stage1, shortcut and ReLU"));
    cases.push(case(&[64, 7, 7, 2048]).real("resnet50 stage4"));
    cases.extend(super::batch_norm_backward::cases());
    cases
}
