//! Convolution in two dimensions, NHWC: y = x ∗ weight (+ bias), any kernel, stride, padding and groups.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::reshape::Reshape;
use super::sum_rows::SumRows;
use super::{BatchNormFixed, ConvBatchNorm, ConvNorm, MatMul, Pad, by_image};
use crate::graph::{
    ByImage, Case, Composition, Cost, Gradients, Graph, GraphError, Io, Maths, Node, Op, Regrouping, Shape, Signature,
    Tensor, Value,
};
use crate::kernel::tuning::gemm::Rows;
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

use super::conv2d_backward::{Conv2dBackwardWeight, Conv2dBackwardX};
use super::conv2d_product::{Product, add_slices};

/// y[N, Ho, Wo, O] = x[N, H, W, C] ∗ weight[KH, KW, C/groups, O] + `bias[O]` (f32, may be left out).
///
/// x may be rows [N, H, C], an image one pixel wide; so is y then: [N, Ho, O]. A weight [C/groups, O] is of a kernel of one pixel.
/// Output channels are cut into `groups` runs; run g sees input channels g C/groups .. (g+1) C/groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Rows and columns from one patch to the next.
    pub stride: [usize; 2],
    /// Rows and columns of zeros on each side.
    pub padding: [usize; 2],
    /// How many groups channels are cut into.
    pub groups: usize,
}

kernel! {
    struct Forward = "conv2d/forward" {
        params { batch: u32 }
        read { x, weight }
        write { y }
    }
}

kernel! {
    struct ForwardBias = "conv2d/forward_bias" {
        params { batch: u32 }
        read { x, weight, bias }
        write { y }
    }
}

/// Every size of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    /// Of pixels: 2, or 1 where they are rows.
    axes: usize,
    pub(super) input: [usize; 2],
    pub(super) in_channels: usize,
    pub(super) output: [usize; 2],
    pub(super) out_channels: usize,
    pub(super) kernel: [usize; 2],
    pub(super) group_in: usize,
    pub(super) group_out: usize,
}

impl Conv2d {
    /// A convolution with this stride and padding both ways, in one group.
    #[must_use]
    pub const fn new(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], groups: 1 }
    }

    /// The same in groups.
    #[must_use]
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Adds what makes the gradients of x and weight from y's.
    pub(super) fn gradients(
        self,
        [x, weight]: [Value; 2],
        dy: Value,
        graph: &mut Graph,
    ) -> Result<[Value; 2], GraphError> {
        let [x_shape, weight_shape] = [x, weight].map(|value| graph.tensor(value).shape.clone());
        let dx = graph.apply_one(Conv2dBackwardX { conv: self, x: x_shape }, &[dy, weight])?;
        let dweight = graph.apply_one(Conv2dBackwardWeight { conv: self, weight: weight_shape }, &[x, dy])?;
        Ok([dx, dweight])
    }

    pub(super) fn sizes(self, x: &[usize], weight: &[usize]) -> Result<Sizes, String> {
        let (&[batch, ref pixels @ .., in_channels], &[ref kernel @ .., group_in, out_channels]) = (x, weight) else {
            return Err("takes x and weight".to_owned());
        };
        let ([h, w], [kernel_h, kernel_w]) = match (pixels, kernel) {
            (&[h, w], &[kernel_h, kernel_w]) => ([h, w], [kernel_h, kernel_w]),
            (&[h, w], []) => ([h, w], [1, 1]),
            (&[rows], &[kernel_h, kernel_w]) => ([rows, 1], [kernel_h, kernel_w]),
            (&[rows], []) => ([rows, 1], [1, 1]),
            _ => {
                return Err(
                    "takes x [N, H, W, C] or [N, H, C], and weight [KH, KW, C/groups, O] or [C/groups, O]".to_owned()
                );
            }
        };
        let groups = self.groups;
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            return Err(format!("{groups} groups do not divide {in_channels} and {out_channels} channels"));
        }
        if group_in.saturating_mul(groups) != in_channels {
            return Err(format!(
                "weight is for {} channels in {groups} groups, x has {in_channels}",
                group_in.saturating_mul(groups)
            ));
        }
        let size = |axis: usize, length: usize, kernel: usize| {
            let padded = length.saturating_add(self.padding[axis].saturating_mul(2));
            match (kernel, self.stride[axis]) {
                (0, _) | (_, 0) => Err("kernel and stride must be at least 1".to_owned()),
                _ if kernel > padded => Err(format!("a kernel of {kernel} does not fit {padded} padded pixels")),
                (kernel, stride) => Ok((padded - kernel) / stride + 1),
            }
        };
        let output = [size(0, h, kernel_h)?, size(1, w, kernel_w)?];
        if pixels.len() == 1 && output[1] != 1 {
            return Err(format!("of rows y would be {} pixels wide; padding may not widen them", output[1]));
        }
        let (kernel, group_out, axes) = ([kernel_h, kernel_w], out_channels / groups, pixels.len());
        Ok(Sizes { batch, axes, input: [h, w], in_channels, output, out_channels, kernel, group_in, group_out })
    }
}

impl Sizes {
    /// The shape of y.
    pub(super) fn y(&self) -> Shape {
        Shape::from([&[self.batch][..], &self.output[..self.axes], &[self.out_channels]].concat())
    }

    /// What the rows of a product are.
    pub(super) const fn rows(&self) -> Rows {
        if self.kernel[0] * self.kernel[1] == 1 { Rows::Matrix } else { Rows::Patches }
    }

    pub(super) fn multiply_adds(&self) -> u64 {
        let outputs = self.batch * self.output[0] * self.output[1] * self.out_channels;
        (outputs * self.kernel[0] * self.kernel[1] * self.group_in) as u64
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (x, weight, bias) = match inputs {
            [x, weight] => (x, weight, None),
            [x, weight, bias] => (x, weight, Some(bias)),
            _ => return Err("takes x, weight and perhaps bias".to_owned()),
        };
        if x.elem != weight.elem || x.elem == Elem::U32 {
            return Err("x and weight must both be f32 or both f16".to_owned());
        }
        let sizes = self.sizes(&x.shape, &weight.shape)?;
        if bias.is_some_and(|bias| *bias != Tensor::f32([sizes.out_channels])) {
            return Err(format!("bias must be f32 [{}]", sizes.out_channels));
        }
        Ok(vec![x.shaped(sizes.y())])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        // A bias is added where sums leave; slices have no such place.
        let Some(product) = self.product(io, [io.inputs.len() == 2, false]) else { return };
        let (x, weight, y) = (io.input(0), io.input(1), io.output(0));
        if io.inputs.len() > 2 {
            let Product { batch, variant, grid, .. } = product;
            out.dispatch(&ForwardBias { batch, x, weight, bias: io.input(2), y }, variant, grid);
        } else if let Some((partial, slices)) = product.slices(io, out) {
            add_slices(io, out, partial, y, [slices, io.outputs[0].shape.count()]);
        } else {
            let Product { batch, variant, grid, .. } = product;
            out.dispatch(&Forward { batch, x, weight, y }, variant, grid);
        }
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let mut gradients: Vec<_> = self.gradients([node.inputs[0], node.inputs[1]], dy, graph)?.map(Some).into();
        if node.inputs.len() == 3 {
            let shape = &graph.tensor(dy).shape;
            let channels = shape[shape.len() - 1];
            let shape = Shape::from([shape.count() / channels, channels]);
            let rows = graph.apply_one(Reshape { shape }, &[dy])?;
            gradients.push(Some(graph.apply_one(SumRows, &[rows])?));
        }
        Ok(gradients)
    }

    /// Images of three channels get a fourth that is 0, and the weight, too: then lanes load four numbers at a time.
    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let graph = &mut *graph.graph;
        let (Some([_, _, _, 3]), Some([_, _, 3, out])) =
            (graph.tensor(inputs[0]).shape.rank(), graph.tensor(inputs[1]).shape.rank())
        else {
            return Ok(None);
        };
        if !out.is_multiple_of(4) {
            return Ok(None);
        }
        let x = graph.apply_one(Pad { axis: 3, before: 0, after: 1 }, &inputs[..1])?;
        let weight = graph.apply_one(Pad { axis: 2, before: 0, after: 1 }, &inputs[1..2])?;
        graph.apply(*self, &[&[x, weight], &inputs[2..]].concat()).map(Some)
    }

    /// A bias is an affine map of its own; a kernel of one pixel is a product of matrices.
    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let shape = |value: Value| graph.tensor(value).shape.clone();
        match *inputs {
            [x, weight, bias] => {
                let y = graph.apply_one(*self, &[x, weight])?;
                Ok(Some(vec![Some(BatchNormFixed::affine(graph, y, 1.0, bias)?)]))
            }
            [x, weight] if *self == Self::new(1, 0) => {
                let sizes = self.sizes(&shape(x), &shape(weight)).ok().filter(|sizes| sizes.rows() == Rows::Matrix);
                let Some(sizes) = sizes else { return Ok(None) };
                let (count, c, o) = (shape(x).count(), sizes.in_channels, sizes.out_channels);
                let pixels = graph.apply_one(Reshape { shape: [count / c, c].into() }, &[x])?;
                let weight = graph.apply_one(Reshape { shape: [c, o].into() }, &[weight])?;
                let y = graph.apply_one(MatMul::new(), &[pixels, weight])?;
                Ok(Some(vec![Some(graph.apply_one(Reshape { shape: sizes.y() }, &[y])?)]))
            }
            _ => Ok(None),
        }
    }

    fn then(&self, next: &dyn Op, at: usize, inputs: usize) -> Option<Box<dyn Op>> {
        if (inputs, at) != (2, 0) {
            return None;
        }
        // Without eps it is no normalization but a constant that networks in training are multiplied by, too: that has gradients.
        let fixed = next.downcast::<BatchNormFixed>().filter(|norm| norm.eps > 0.0);
        let fixed = fixed.map(|&norm| Box::new(ConvNorm::new(*self, norm)) as Box<dyn Op>);
        fixed.or_else(|| Some(Box::new(ConvBatchNorm { conv: *self, norm: *next.downcast()? })))
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let sizes = self.sizes(&inputs[0].shape, &inputs[1].shape);
        Cost {
            multiply_adds: sizes.map_or(0, |sizes| sizes.multiply_adds()),
            bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum(),
        }
    }
}

impl Maths for Conv2d {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (x, weight) = (inputs[0], inputs[1]);
        let Ok(sizes) = self.sizes(&x.shape, &weight.shape) else { return vec![] };
        let bias = inputs.get(2);
        let y = Array::from_rows(&sizes.y(), sizes.out_channels, |pixel, y| {
            for tap in 0..sizes.kernel[0] * sizes.kernel[1] {
                let Some(x_at) = self.tapped(&sizes, pixel, tap) else { continue };
                for c in 0..sizes.group_in {
                    let weights = &weight.data[(tap * sizes.group_in + c) * sizes.out_channels..];
                    let groups = y.chunks_mut(sizes.group_out).zip(weights.chunks(sizes.group_out));
                    for (group, (y, weights)) in groups.enumerate() {
                        let x = x.data[x_at + group * sizes.group_in + c];
                        y.iter_mut().zip(weights).for_each(|(y, &weight)| *y += x * weight);
                    }
                }
            }
            if let Some(bias) = bias {
                y.iter_mut().zip(&bias.data).for_each(|(y, &bias)| *y += bias);
            }
        });
        vec![y]
    }
}

impl Conv2d {
    /// Where x's pixel begins that an output pixel sees through a tap of the kernel; nothing where it sees padding.
    pub(super) fn tapped(self, sizes: &Sizes, pixel: usize, tap: usize) -> Option<usize> {
        let ([h, w], [out_h, out_w], kernel_w) = (sizes.input, sizes.output, sizes.kernel[1]);
        let (image, y, x) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        let from_y = (y * self.stride[0] + tap / kernel_w).wrapping_sub(self.padding[0]);
        let from_x = (x * self.stride[1] + tap % kernel_w).wrapping_sub(self.padding[1]);
        (from_y < h && from_x < w).then(|| ((image * h + from_y) * w + from_x) * sizes.in_channels)
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Conv2d>(
            "conv2d",
            "y = x ∗ weight + bias (a correlation: nothing is flipped); Ho = (H + 2 padding − KH) / stride + 1, rounded down",
            &[
                ("stride", "[rows, columns] from patch to patch"),
                ("padding", "[rows, columns] of zeros on each side"),
                ("groups", "a whole number"),
            ],
            [
                &[
                    ("x", "T [N, H, W, C] or [N, H, C]"),
                    ("weight", "T [KH, KW, C/groups, O] or [C/groups, O]"),
                    ("bias?", "f32 [O]"),
                ],
                &[("y", "T [N, Ho, Wo, O] or [N, Ho, O]")],
            ],
        ),
        super::conv2d_backward::SIGNATURES[0],
        super::conv2d_backward::SIGNATURES[1],
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let conv = |stride, padding, groups| Conv2d { stride, padding, groups };
    let mut cases = vec![
        Case::new(Conv2d::new(1, 0), &[&[1, 1, 1, 1], &[1, 1, 1, 1]]),
        Case::new(Conv2d::new(1, 1), &[&[2, 5, 7, 3], &[3, 3, 3, 5]]),
        Case::new(Conv2d::new(2, 3), &[&[2, 9, 8, 3], &[7, 7, 3, 8]]),
        Case::new(Conv2d::new(1, 1), &[&[2, 6, 5, 8], &[3, 3, 8, 12]]),
        Case::new(Conv2d::new(2, 1), &[&[3, 7, 6, 16], &[3, 3, 16, 36]]),
        Case::new(Conv2d::new(2, 0), &[&[1, 7, 5, 4], &[1, 1, 4, 8]]),
        Case::new(Conv2d::new(1, 0).groups(4), &[&[2, 3, 5, 16], &[1, 1, 4, 32]]),
        Case::new(Conv2d::new(1, 1).groups(2), &[&[2, 4, 3, 6], &[3, 3, 3, 10]]),
        Case::new(Conv2d::new(1, 1).groups(7), &[&[1, 5, 4, 7], &[3, 3, 1, 7]]),
        Case::new(conv([2, 1], [0, 2], 1), &[&[2, 8, 5, 5], &[2, 4, 5, 33]]),
        // Strides cut dx into phases: some that no tap sees, some that reach out of the image, and whole tiles of them.
        Case::new(conv([3, 3], [1, 1], 1), &[&[1, 8, 7, 4], &[2, 2, 4, 8]]),
        Case::new(conv([2, 1], [1, 0], 1), &[&[1, 5, 3, 4], &[3, 1, 4, 4]]),
        Case::new(conv([3, 2], [2, 0], 2), &[&[2, 7, 9, 6], &[4, 3, 3, 8]]),
        Case::new(Conv2d::new(2, 1), &[&[2, 16, 16, 128], &[3, 3, 128, 64]]),
        // Rows, whose kernel may be longer than one, and whose bias is summed over.
        Case::new(Conv2d::new(1, 0).groups(2), &[&[2, 7, 6], &[3, 10]]),
        Case::new(Conv2d::new(1, 0), &[&[2, 3, 5, 12], &[12, 8]]),
        Case::new(conv([2, 1], [1, 0], 1), &[&[2, 7, 5], &[3, 1, 5, 8], &[8]]).f32(2),
        // Pixels enough for a weight's gradient to be summed in three slices on a GPU.
        Case::new(Conv2d::new(1, 1), &[&[4, 20, 20, 3], &[3, 3, 3, 5]]),
        // Whole tiles, forward and backward: no index is checked. The larger ones are whole in tiles of any size, and those
        // of 132 channels stick out of several.
        Case::new(Conv2d::new(1, 1), &[&[2, 4, 4, 32], &[3, 3, 32, 32]]),
        Case::new(Conv2d::new(1, 1), &[&[2, 8, 8, 64], &[3, 3, 64, 128]]),
        Case::new(Conv2d::new(1, 0), &[&[2, 8, 8, 128], &[1, 1, 128, 128], &[128]]).f32(2),
        Case::new(Conv2d::new(1, 1), &[&[2, 9, 8, 132], &[1, 2, 132, 132]]),
        // Sums so short that columns of weights stay in registers.
        Case::new(Conv2d::new(1, 0), &[&[2, 4, 4, 32], &[32, 32]]),
        Case::new(Conv2d::new(1, 0), &[&[1, 8, 8, 64], &[64, 128]]),
        Case::new(Conv2d::new(1, 0), &[&[1, 8, 8, 256], &[256, 128]]),
        Case::new(Conv2d::new(1, 0), &[&[2, 9, 8, 132], &[132, 8]]),
        Case::new(Conv2d::new(1, 0), &[&[2, 9, 8, 8], &[8, 132]]),
        Case::new(Conv2d::new(1, 0), &[&[2, 9, 8, 8], &[1, 1, 8, 132], &[132]]).f32(2),
        Case::new(Conv2d::new(1, 1), &[&[2, 5, 7, 3], &[3, 3, 3, 5], &[5]]).f32(2),
        Case::new(Conv2d::new(1, 1).groups(2), &[&[2, 5, 4, 8], &[3, 3, 4, 16], &[16]]).f32(2),
    ];
    for (layer, h, c, o, kernel, stride) in [
        ("resnet50 stem, batch 32", 224, 3, 64, 7, 2),
        ("resnet50 stage2 3x3, batch 32", 56, 64, 64, 3, 1),
        ("resnet50 stage3 3x3, batch 32", 28, 128, 128, 3, 1),
        ("resnet50 stage4 3x3, batch 32", 14, 256, 256, 3, 1),
        ("resnet50 stage4 1x1, batch 32", 14, 1024, 256, 1, 1),
        ("resnet50 stage5 3x3, batch 32", 7, 512, 512, 3, 1),
    ] {
        let op = Conv2d::new(stride, kernel / 2);
        cases.push(Case::new(op, &[&[32, h, h, c], &[kernel, kernel, c, o]]).real(layer));
    }
    cases.extend(super::conv2d_backward::cases());
    cases
}
