//! The two gradients of a convolution, each a GEMM of its own.

use serde::{Deserialize, Serialize};

use super::Add;
use super::conv2d::{Conv2d, Sizes};
use super::conv2d_product::add_slices;
use crate::graph::{
    ByImage, Case, Composition, Cost, Gradients, Graph, Io, Maths, Node, Op, Shape, Signature, Tensor, Value,
};
use crate::kernel::tuning::gemm::{Rows, Sums, Tiles};
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// dx[N, H, W, C] from dy[N, Ho, Wo, O] and weight; with a third input, added to what x gets from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2dBackwardX {
    /// The convolution.
    #[serde(flatten)]
    pub conv: Conv2d,
    /// The shape of its x.
    pub x: Shape,
}

/// dweight from x and dy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2dBackwardWeight {
    /// The convolution.
    #[serde(flatten)]
    pub conv: Conv2d,
    /// The shape of its weight.
    pub weight: Shape,
}

kernel! {
    struct BackwardX = "conv2d/backward_x" {
        params { batch: u32 }
        read { dy, weight, plus }
        write { dx }
    }
}

kernel! {
    /// `slice_depth`: output pixels that one of the `slices` sums over.
    struct BackwardWeight = "conv2d/backward_weight" {
        params { batch: u32, slices: u32, slice_depth: u32 }
        read { x, dy }
        write { partial }
    }
}

/// The input of [`Conv2dBackwardX`] that is added.
const PLUS: usize = 2;

impl Op for Conv2dBackwardX {
    fn name(&self) -> &'static str {
        "conv2d_backward_x"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([dy, weight] | [dy, weight, _]) = inputs else {
            return Err("takes dy, weight and perhaps plus".to_owned());
        };
        let sizes = self.conv.sizes(&self.x, &weight.shape)?;
        fits_dy(dy, weight, &sizes)?;
        let dx = dy.shaped(self.x.clone());
        match inputs.get(PLUS) {
            Some(plus) if *plus != dx => Err(format!("plus must be {dx} as x and is {plus}")),
            _ => Ok(vec![dx]),
        }
    }

    fn by_image(&self, inputs: &[Tensor], images: usize) -> Option<ByImage> {
        let x = Shape::from([&[images], &self.x[1..]].concat());
        let along = [0, PLUS].into_iter().filter(|&at| at < inputs.len()).collect();
        Some(ByImage { op: Box::new(Self { conv: self.conv, x }), inputs: along })
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.conv.sizes(&self.x, &io.inputs[1].shape) else { return };
        // Pixels are cut into phases by the stride; each has taps of its own, of which one is the least to be whole.
        let stride = self.conv.stride;
        let [height, width] = [0, 1].map(|axis| sizes.input[axis].div_ceil(stride[axis]));
        let extent = [sizes.batch * height * width, sizes.group_in];
        let phases = stride[0] * stride[1];
        let taps = if phases == 1 { sizes.kernel[0] * sizes.kernel[1] } else { 1 };
        let slices = self.conv.groups * phases;
        let depth = sizes.kernel[0] * sizes.kernel[1] * sizes.group_out / phases;
        // Of phases some have no tap.
        let rows = if phases > 1 && sizes.rows() == Rows::Matrix { Rows::Other } else { sizes.rows() };
        let sums = Sums { rows, extent, depth, groups: slices, may_slice: false, beside: io.inputs.len() > PLUS };
        let tiles = Tiles::choose(io.machine, io.elem(0), &sums);
        let whole = [extent[0], extent[1], taps * sizes.group_out];
        let plus = io.inputs.len() > PLUS;
        let (dy, weight, dx) = (io.input(0), io.input(1), io.output(0));
        let variant = tiles.variant(self.conv.variant(&sizes, io.elem(0), &tiles), whole, [true, true]);
        out.dispatch(
            &BackwardX { batch: word(sizes.batch), dy, weight, plus: io.input(if plus { PLUS } else { 0 }), dx },
            variant.constant("PLUS", plus.into()),
            tiles.grid(extent, slices),
        );
    }

    /// It is linear in dy, and conv2d is what it is the gradient of.
    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(g) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let [dy, weight] = [node.inputs[0], node.inputs[1]];
        let back = Conv2dBackwardWeight { conv: self.conv, weight: graph.tensor(weight).shape.clone() };
        let made = [graph.apply_one(self.conv, &[g, weight])?, graph.apply_one(back, &[g, dy])?];
        Ok(made.into_iter().chain(node.inputs.get(PLUS).map(|_| g)).map(Some).collect())
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        let &[dy, weight, plus] = inputs else { return Ok(None) };
        let dx = graph.apply_one(self.clone(), &[dy, weight])?;
        Ok(Some(vec![Some(graph.apply_one(Add, &[dx, plus])?)]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        (inputs == PLUS && next.downcast::<Add>().is_some()).then(|| Box::new(self.clone()) as Box<dyn Op>)
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.conv, &self.x, &inputs[1].shape, [inputs, outputs])
    }
}

impl Maths for Conv2dBackwardX {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (dy, weight) = (inputs[0], inputs[1]);
        let Ok(sizes) = self.conv.sizes(&self.x, &weight.shape) else { return vec![] };
        let (taps, pixels) = (sizes.kernel[0] * sizes.kernel[1], sizes.output[0] * sizes.output[1]);
        let image_size = sizes.input[0] * sizes.input[1] * sizes.in_channels;
        let dx = Array::from_rows(&self.x, image_size, |image, dx| {
            for (pixel, tap) in
                (image * pixels..(image + 1) * pixels).flat_map(|at| (0..taps).map(move |tap| (at, tap)))
            {
                let Some(x_at) = self.conv.tapped(&sizes, pixel, tap) else { continue };
                let dy = &dy.data[pixel * sizes.out_channels..][..sizes.out_channels];
                for c in 0..sizes.group_in {
                    let weights = &weight.data[(tap * sizes.group_in + c) * sizes.out_channels..];
                    let each = sizes.group_out.max(1);
                    let groups = dy.chunks(each).zip(weights.chunks(each));
                    for (group, (dy, weights)) in groups.enumerate() {
                        let dx = &mut dx[x_at - image * image_size + group * sizes.group_in + c];
                        dy.iter().zip(weights).for_each(|(&dy, &weight)| *dx += dy * weight);
                    }
                }
            }
        });
        vec![inputs.get(PLUS).map_or(dx.clone(), |plus| dx.zip(plus, |dx, plus| dx + plus))]
    }
}

impl Op for Conv2dBackwardWeight {
    fn name(&self) -> &'static str {
        "conv2d_backward_weight"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, dy] = inputs else { return Err("takes x and dy".to_owned()) };
        let sizes = self.conv.sizes(&x.shape, &self.weight)?;
        fits_dy(dy, x, &sizes)?;
        Ok(vec![x.shaped(self.weight.clone())])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.conv.sizes(&io.inputs[0].shape, &self.weight) else { return };
        let extent = [sizes.kernel[0] * sizes.kernel[1] * sizes.group_in, sizes.group_out];
        let depth = sizes.batch * sizes.output[0] * sizes.output[1];
        let sums = Sums { rows: Rows::Other, extent, depth, groups: self.conv.groups, may_slice: true, beside: false };
        let tiles = Tiles::choose(io.machine, io.elem(0), &sums);
        let count = self.weight.count();
        let [slices, slice_depth] = tiles.sliced(io.machine, &sums);
        let partial = out.scratch(slices * count);
        out.dispatch(
            &BackwardWeight {
                batch: word(sizes.batch),
                slices: word(slices),
                slice_depth: word(slice_depth),
                x: io.input(0),
                dy: io.input(1),
                partial,
            },
            tiles.variant(self.conv.variant(&sizes, io.elem(0), &tiles), [extent[0], extent[1], depth], [false, false]),
            tiles.grid(extent, self.conv.groups * slices),
        );
        add_slices(io, out, partial, io.output(0), [slices, count]);
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.conv, &inputs[0].shape, &self.weight, [inputs, outputs])
    }
}

impl Maths for Conv2dBackwardWeight {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (x, dy) = (inputs[0], inputs[1]);
        let Ok(sizes) = self.conv.sizes(&x.shape, &self.weight) else { return vec![] };
        let pixels = sizes.batch * sizes.output[0] * sizes.output[1];
        let dweight = Array::from_rows(&self.weight, sizes.out_channels, |row, dweight| {
            let (tap, c) = (row / sizes.group_in, row % sizes.group_in);
            for pixel in 0..pixels {
                let Some(x_at) = self.conv.tapped(&sizes, pixel, tap) else { continue };
                let dy = &dy.data[pixel * sizes.out_channels..];
                let groups = dweight.chunks_mut(sizes.group_out).zip(dy.chunks(sizes.group_out));
                for (group, (dweight, dy)) in groups.enumerate() {
                    let x = x.data[x_at + group * sizes.group_in + c];
                    dweight.iter_mut().zip(dy).for_each(|(dweight, &dy)| *dweight += x * dy);
                }
            }
        });
        vec![dweight]
    }
}

/// Kernels without runtime checks trust that dy has the shape of y.
fn fits_dy(dy: &Tensor, like: &Tensor, sizes: &Sizes) -> Result<(), String> {
    if like.elem == Elem::U32 {
        return Err("takes f32 or f16, not u32".to_owned());
    }
    let wanted = like.shaped(sizes.y());
    if *dy == wanted { Ok(()) } else { Err(format!("dy must be {wanted}")) }
}

fn cost(conv: Conv2d, x: &Shape, weight: &Shape, tensors: [&[Tensor]; 2]) -> Cost {
    Cost {
        multiply_adds: conv.sizes(x, weight).map_or(0, |sizes| sizes.multiply_adds()),
        bytes: tensors.iter().flat_map(|side| side.iter()).map(|tensor| tensor.bytes() as u64).sum(),
    }
}

pub(super) const SIGNATURES: [Signature; 2] = [
    Signature::of::<Conv2dBackwardX>(
        "conv2d_backward_x",
        "the gradient of conv2d for x, + plus",
        &[
            ("stride", "[rows, columns] from patch to patch"),
            ("padding", "[rows, columns] of zeros on each side"),
            ("groups", "a whole number"),
            ("x", "[N, H, W, C] or [N, H, C], the shape of x"),
        ],
        [
            &[
                ("dy", "T [N, Ho, Wo, O] or [N, Ho, O]"),
                ("weight", "T [KH, KW, C/groups, O] or [C/groups, O]"),
                ("plus?", "T [N, H, W, C] or [N, H, C]"),
            ],
            &[("dx", "T [N, H, W, C] or [N, H, C]")],
        ],
    ),
    Signature::of::<Conv2dBackwardWeight>(
        "conv2d_backward_weight",
        "the gradient of conv2d for its weight",
        &[
            ("stride", "[rows, columns] from patch to patch"),
            ("padding", "[rows, columns] of zeros on each side"),
            ("groups", "a whole number"),
            ("weight", "[KH, KW, C/groups, O] or [C/groups, O], the shape of the weight"),
        ],
        [
            &[("x", "T [N, H, W, C] or [N, H, C]"), ("dy", "T [N, Ho, Wo, O] or [N, Ho, O]")],
            &[("dweight", "T [KH, KW, C/groups, O] or [C/groups, O]")],
        ],
    ),
];

/// What no gradient of a convolution makes by itself: sums with what x gets from elsewhere.
pub(super) fn cases() -> Vec<Case> {
    let case = |conv: Conv2d, x: [usize; 4], dy: [usize; 4], kernel: usize| {
        let weight = [kernel, kernel, x[3] / conv.groups, dy[3]];
        Case::new(Conv2dBackwardX { conv, x: Shape::from(x) }, &[&dy, &weight, &x])
    };
    vec![
        case(Conv2d::new(1, 1), [2, 5, 7, 3], [2, 5, 7, 5], 3),
        case(Conv2d::new(1, 0), [2, 8, 8, 128], [2, 8, 8, 128], 1),
        // Of a stride, pixels that no tap sees get the other term alone.
        case(Conv2d::new(2, 0), [2, 7, 6, 12], [2, 4, 3, 8], 1),
        case(Conv2d::new(1, 1).groups(2), [1, 4, 3, 8], [1, 4, 3, 16], 3),
        Case::new(Conv2dBackwardX { conv: Conv2d::new(1, 0).groups(2), x: [2, 5, 6].into() }, &[&[2, 5, 10], &[3, 10]]),
    ]
}
