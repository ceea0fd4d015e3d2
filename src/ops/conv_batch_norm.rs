//! A convolution and the batch normalization behind it, in training: the statistics are taken where the convolution's sums
//! leave its kernel, so that what it made is not read for them. [`Graph::fused`] makes it of the two.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Blocks, Cut, Normal, normalize, statistics};
use super::conv2d_product::{Product, add_slices};
use super::{BatchNormAgain, BatchNormTrain, Conv2d, Entry, with_tail};
use crate::graph::{
    Case, Cost, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Repetition, Signature, Stages, Tensor, Value,
};
use crate::kernel::tuning::Strips;
use crate::kernel::{Capabilities, Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// x, weight as [`Conv2d`] has them, without its bias; gain, bias, running_mean, running_variance `f32 [O]`, perhaps
/// shortcut [N, Ho, Wo, O] → y [N, Ho, Wo, O], mean, inv_std, running_mean', running_variance' `f32 [O]`, z [N, Ho, Wo, O].
///
/// z = x ∗ weight, and the others as [`BatchNormTrain`] makes them of z. Gradients flow from y alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvBatchNorm {
    /// The convolution.
    #[serde(flatten)]
    pub conv: Conv2d,
    /// The normalization.
    #[serde(flatten)]
    pub norm: BatchNormTrain,
}

kernel! {
    /// A workgroup a tile of pixels and channels.
    struct Forward = "conv_batch_norm/forward" {
        params { batch: u32, nothing: u32 }
        read { x, weight }
        write { z, block_mean, block_m2 }
    }
}

kernel! {
    /// A workgroup a group of blocks and strip of channels.
    struct Unite = "conv_batch_norm/unite" {
        params { rows: u32, columns: u32, blocks: u32, rows_each: u32, blocks_each: u32 }
        read { block_mean, block_m2 }
        write { group_mean, group_m2 }
    }
}

/// Inputs without a shortcut.
const INPUTS: usize = 6;
/// z among the outputs.
const Z: usize = 5;
/// Blocks from which it pays to unite them in groups first: few workgroups merge what is left.
const MANY_BLOCKS: usize = 1024;

impl ConvBatchNorm {
    /// The calls that make z and moments of it.
    fn moments(self, io: &Io<'_>, cut: &Cut, out: &mut Recording) -> Option<Blocks> {
        let product = self.conv.product(io, [true, false])?;
        let z = io.output(Z);
        if let Some((partial, slices)) = product.slices(io, out) {
            add_slices(io, out, partial, z, [slices, io.outputs[Z].shape.count()]);
            return Some(statistics(cut, z, out));
        }
        let Product { batch, variant, grid, tiles, .. } = product;
        let rows_each = tiles.tally_rows();
        let count = cut.rows.div_ceil(rows_each);
        let (mean, m2) = (out.scratch(count * cut.channels), out.scratch(count * cut.channels));
        let (x, weight) = (io.input(0), io.input(1));
        out.dispatch(&Forward { batch, nothing: 0, x, weight, z, block_mean: mean, block_m2: m2 }, variant, grid);
        let blocks = Blocks { origin: None, mean, m2, count, rows_each };
        Some(if count > MANY_BLOCKS { unite(io.machine, cut, &blocks, out) } else { blocks })
    }
}

/// The call that makes fewer blocks of many.
fn unite(machine: &Capabilities, cut: &Cut, blocks: &Blocks, out: &mut Recording) -> Blocks {
    let strips = Strips::of(machine, blocks.count, cut.channels / cut.width.elements());
    let (count, numbers) = (strips.blocks, strips.blocks * cut.channels);
    let (mean, m2) = (out.scratch(numbers), out.scratch(numbers));
    out.dispatch(
        &Unite {
            rows: word(cut.rows),
            columns: cut.columns(),
            blocks: word(blocks.count),
            rows_each: word(blocks.rows_each),
            blocks_each: word(strips.rows_each),
            block_mean: blocks.mean,
            block_m2: blocks.m2,
            group_mean: mean,
            group_m2: m2,
        },
        strips.build(Variant::of(Elem::F32).piece(cut.width.piece())),
        Grid::volume(strips.across, count, 1),
    );
    Blocks { origin: None, mean, m2, count, rows_each: blocks.rows_each * strips.rows_each }
}

impl Op for ConvBatchNorm {
    fn name(&self) -> &'static str {
        "conv_batch_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        if !(INPUTS..=INPUTS + 1).contains(&inputs.len()) {
            return Err("takes x, weight, gain, bias, running_mean, running_variance and perhaps shortcut".to_owned());
        }
        let z = self.conv.outputs(&inputs[..2])?;
        Ok([self.norm.outputs(&[&z, &inputs[2..]].concat())?, z].concat())
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = Cut::of(io.machine, &io.outputs[Z]);
        let Some(blocks) = self.moments(io, &cut, out) else { return };
        self.norm.merge(io.machine, &cut, &blocks, [1, 2, 3, 4].map(|at| io.output(at)), out);
        let [gain, bias] = [2, 3].map(|at| io.input(at));
        let shortcut = (io.inputs.len() > INPUTS).then(|| io.input(INPUTS));
        let [y, mean, inv_std, x] = [0, 1, 2, Z].map(|at| io.output(at));
        normalize(self.norm.relu, cut, Normal { x, gain, bias, mean, inv_std, shortcut, y }, out);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let [x, weight, gain] = [0, 1, 2].map(|at| node.inputs[at]);
        let [y, mean, inv_std, z] = [0, 1, 2, Z].map(|at| node.outputs[at]);
        let (made, dy) = self.norm.gradients([z, gain, mean, inv_std, y], dy, graph)?;
        let [dx, dweight] = self.conv.gradients([x, weight], made[0], graph)?;
        let shortcut = node.inputs.get(INPUTS).map(|_| Some(dy));
        let gradients = [dx, dweight].into_iter().chain(made[1..].iter().copied()).map(Some);
        Ok(gradients.chain([None, None]).chain(shortcut).collect())
    }

    /// As the two ops would be: the convolution is done again, its statistics were kept, and nothing is updated a second time.
    fn again(&self, node: &Node, graph: &mut Graph) -> Repetition {
        let [_, mean, inv_std, next_mean, next_variance, _] = node.outputs[..] else { return Ok(None) };
        let z = graph.apply_one(self.conv, &node.inputs[..2])?;
        let shortcut = node.inputs.get(INPUTS).copied();
        let inputs: Vec<Value> =
            [z, node.inputs[2], node.inputs[3], mean, inv_std].into_iter().chain(shortcut).collect();
        let y = graph.apply_one(BatchNormAgain { relu: self.norm.relu }, &inputs)?;
        Ok(Some(vec![y, mean, inv_std, next_mean, next_variance, z]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.norm.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { norm: BatchNormTrain { relu, ..self.norm }, ..*self }))
    }

    fn stages(&self) -> Option<Stages> {
        Some(Stages { first: Box::new(self.conv), inputs: 2, then: Box::new(self.norm) })
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(4, 3), (5, 4)]
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }

    /// z is read again once its statistics are known.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let each = inputs.iter().chain(outputs).chain(&outputs[Z..]);
        let bytes = each.map(|tensor| tensor.bytes() as u64).sum();
        Cost { bytes, ..self.conv.cost(&inputs[..2], &outputs[Z..]) }
    }
}

impl Maths for ConvBatchNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let z = self.conv.maths(&inputs[..2]);
        let normal: Vec<&Array<T>> = z.iter().chain(inputs[2..].iter().copied()).collect();
        let mut made = self.norm.maths(&normal);
        made.extend(z);
        made
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<ConvBatchNorm>(
        "conv_batch_norm",
        "z = x ∗ weight; y, mean, inv_std, running_mean', running_variance' as batch_norm makes them of z",
        &[
            ("stride", "[rows, columns] from patch to patch"),
            ("padding", "[rows, columns] of zeros on each side"),
            ("groups", "a whole number"),
            ("eps", "a number added to the variance"),
            ("momentum", "the weight of this batch in the running averages, 0 to 1"),
            ("relu", "true or false"),
        ],
        [
            &[
                ("x", "T [N, H, W, C] or [N, H, C]"),
                ("weight", "T [KH, KW, C/groups, O] or [C/groups, O]"),
                ("gain", "f32 [O]"),
                ("bias", "f32 [O]"),
                ("running_mean", "f32 [O]"),
                ("running_variance", "f32 [O]"),
                ("shortcut?", "T [N, Ho, Wo, O] or [N, Ho, O]"),
            ],
            &[
                ("y", "T [N, Ho, Wo, O] or [N, Ho, O]"),
                ("mean", "f32 [O]"),
                ("inv_std", "f32 [O]"),
                ("running_mean'", "f32 [O]"),
                ("running_variance'", "f32 [O]"),
                ("z", "T [N, Ho, Wo, O] or [N, Ho, O]"),
            ],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |conv: Conv2d, relu, x: [usize; 4], kernel: usize, channels: usize, shortcut: bool| {
        let op = ConvBatchNorm { conv, norm: BatchNormTrain { eps: 1e-5, momentum: 0.1, relu } };
        let weight = [kernel, kernel, x[3] / conv.groups, channels];
        let [h, w] = conv.sizes(&x, &weight).map_or([0; 2], |sizes| sizes.output);
        let (vector, y) = ([channels], [x[0], h, w, channels]);
        let mut shapes: Vec<&[usize]> = vec![&x, &weight, &vector, &vector, &vector, &vector];
        shapes.extend(shortcut.then_some(&y[..]));
        (2..INPUTS).fold(Case::new(op, &shapes).constant(4).constant(5), Case::f32)
    };
    let mut cases = vec![
        // One row deviates from nothing, and has no slope.
        case(Conv2d::new(1, 0), false, [1, 1, 1, 1], 1, 1, false).no_gradient(),
        // x and weight of one shape, which a rule might mix up.
        case(Conv2d::new(1, 0), false, [2, 2, 3, 3], 2, 3, false),
        case(Conv2d::new(1, 1), true, [2, 5, 7, 3], 3, 5, false),
        case(Conv2d::new(2, 1), false, [2, 6, 5, 8], 3, 12, true),
        case(Conv2d::new(1, 1), true, [2, 4, 4, 32], 3, 32, true),
        // Whole in tiles of any size, then sticking out of several.
        case(Conv2d::new(1, 0), true, [2, 8, 8, 128], 1, 128, false),
        case(Conv2d::new(1, 0), false, [2, 9, 8, 8], 1, 132, true),
        case(Conv2d::new(1, 1).groups(2), true, [2, 4, 3, 6], 3, 10, true),
        case(Conv2d::new(1, 1).groups(2), false, [2, 5, 4, 8], 3, 16, false),
        // So many blocks that they are united in groups first; by elements and by fours.
        case(Conv2d::new(1, 0), false, [1, 129, 260, 1], 1, 3, false).no_gradient(),
        case(Conv2d::new(1, 0), true, [1, 129, 262, 2], 1, 4, false).no_gradient(),
        // Far from zero, as batch_norm's; in f16, where z is stored, not so far that nothing of its deviations is left.
        case(Conv2d::new(1, 0), false, [2, 9, 13, 2], 1, 8, false)
            .draw(0, Draw::Between(6.0, 7.0))
            .draw(1, Draw::Between(1.0, 1.01))
            .no_gradient(),
    ];
    let rows = ConvBatchNorm { conv: Conv2d::new(1, 0), norm: BatchNormTrain { eps: 1e-5, momentum: 0.1, relu: true } };
    let rows = Case::new(rows, &[&[2, 7, 6], &[6, 12], &[12], &[12], &[12], &[12], &[2, 7, 12]]);
    cases.push((2..INPUTS).fold(rows.constant(4).constant(5), Case::f32));
    let real = |h, c, o, kernel, stride, shortcut, layer| {
        let conv = Conv2d::new(stride, kernel / 2);
        case(conv, true, [64, h, h, c], kernel, o, shortcut).real(layer)
    };
    cases.push(real(224, 3, 64, 7, 2, false, "resnet50 stem"));
    cases.push(real(56, 64, 256, 1, 1, true, "resnet50 stage2 1x1"));
    cases.push(real(14, 256, 256, 3, 1, false, "resnet50 stage4 3x3"));
    cases
}
