//! A convolution and what stands behind it in a network that evaluates, in one pass: batch normalization with fixed
//! statistics, perhaps the sum with a shortcut, perhaps ReLU. [`Graph::fused`] makes it of those.

use serde::{Deserialize, Serialize};

use super::conv2d_product::Product;
use super::{BatchNormFixed, Conv2d, Entry, by_image, with_tail};
use crate::graph::{
    ByImage, Case, Composition, Cost, Draw, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature,
    Tensor, Value,
};
use crate::kernel::{Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// y = f(gain (x ∗ weight − mean) / sqrt(variance + eps) + bias + shortcut): x, weight as [`Conv2d`] has them, without
/// its bias; gain, bias, mean, variance `f32 [O]`; shortcut of y's shape and type, may be left out.
///
/// f is ReLU or nothing. Between the sum over the patch and y nothing is rounded to f16.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvNorm {
    /// Rows and columns from one patch to the next.
    pub stride: [usize; 2],
    /// Rows and columns of zeros on each side.
    pub padding: [usize; 2],
    /// How many groups channels are cut into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

kernel! {
    struct Forward = "conv_norm/forward" {
        params { batch: u32, eps: f32 }
        read { x, weight, gain, bias, mean, variance, shortcut }
        write { y }
    }
}

kernel! {
    /// One lane a channel of a pixel, or four.
    struct AddSlices = "conv_norm/add_slices" {
        params { count: u32, columns: u32, slices: u32, eps: f32 }
        read { partial, gain, bias, mean, variance, shortcut }
        write { y }
    }
}

/// Inputs without a shortcut.
const INPUTS: usize = 6;

impl ConvNorm {
    /// This convolution and this normalization.
    #[must_use]
    pub const fn new(conv: Conv2d, norm: BatchNormFixed) -> Self {
        let Conv2d { stride, padding, groups } = conv;
        Self { stride, padding, groups, eps: norm.eps, relu: norm.relu }
    }

    const fn conv(self) -> Conv2d {
        Conv2d { stride: self.stride, padding: self.padding, groups: self.groups }
    }

    const fn norm(self) -> BatchNormFixed {
        BatchNormFixed { eps: self.eps, relu: self.relu }
    }
}

impl Op for ConvNorm {
    fn name(&self) -> &'static str {
        "conv_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let (INPUTS | 7) = inputs.len() else {
            return Err("takes x, weight, gain, bias, mean, variance and perhaps shortcut".to_owned());
        };
        let y = self.conv().outputs(&inputs[..2])?;
        self.norm().outputs(&[&y[..], &inputs[2..]].concat())
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, INPUTS][..if inputs.len() > INPUTS { 2 } else { 1 }])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let shortcut = io.inputs.len() > INPUTS;
        let Some(product) = self.conv().product(io, [true, shortcut]) else { return };
        let flags = [("RELU", self.relu), ("SHORTCUT", shortcut)];
        let flagged =
            |build: Variant| flags.into_iter().fold(build, |build, (name, flag)| build.constant(name, flag.into()));
        let [x, weight, gain, bias, mean, variance] = [0, 1, 2, 3, 4, 5].map(|at| io.input(at));
        let (eps, shortcut, y) = (self.eps as f32, io.input(if shortcut { INPUTS } else { 0 }), io.output(0));
        let Some((partial, slices)) = product.slices(io, out) else {
            let Product { batch, variant, grid, .. } = product;
            let call = Forward { batch, eps, x, weight, gain, bias, mean, variance, shortcut, y };
            return out.dispatch(&call, flagged(variant), grid);
        };
        let shape = &io.outputs[0].shape;
        let channels = shape[shape.len() - 1];
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(channels));
        let (count, slices) = (shape.count() / width.elements(), word(slices));
        let columns = channels / width.elements();
        let call = AddSlices {
            count: word(count),
            columns: word(columns),
            slices,
            eps,
            partial,
            gain,
            bias,
            mean,
            variance,
            shortcut,
            y,
        };
        let build = flagged(Variant::of(io.elem(0)).piece(width.piece()).constant("WORKGROUP", lanes));
        out.dispatch(&call, build, Grid::over(count, lanes as usize));
    }

    fn backward(&self, _: &Node, _: &[Option<Value>], _: &mut Graph) -> Gradients {
        Err(GraphError::NoGradient {
            op: self.name().to_owned(),
            why: "it is for evaluation; take gradients before such a graph is fused",
        })
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        if inputs.len() < INPUTS {
            return Ok(None); // what is no convolution is refused by the op itself
        }
        let y = graph.apply_one(self.conv(), &inputs[..2])?;
        let y = graph.apply_one(self.norm(), &[&[y], &inputs[2..]].concat())?;
        Ok(Some(vec![Some(y)]))
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { relu, ..*self }))
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { bytes, ..self.conv().cost(inputs, outputs) }
    }
}

impl Maths for ConvNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let y = self.conv().maths(&inputs[..2]);
        let normal: Vec<&Array<T>> = y.iter().chain(inputs[2..].iter().copied()).collect();
        self.norm().maths(&normal)
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<ConvNorm>(
        "conv_norm",
        "y = gain (x ∗ weight − mean) / sqrt(variance + eps) + bias + shortcut, and with relu max(y, 0); for evaluation: it has no gradient",
        &[
            ("stride", "[rows, columns] from patch to patch"),
            ("padding", "[rows, columns] of zeros on each side"),
            ("groups", "a whole number"),
            ("eps", "a number added to the variance"),
            ("relu", "true or false"),
        ],
        [
            &[
                ("x", "T [N, H, W, C] or [N, H, C]"),
                ("weight", "T [KH, KW, C/groups, O] or [C/groups, O]"),
                ("gain", "f32 [O]"),
                ("bias", "f32 [O]"),
                ("mean", "f32 [O]"),
                ("variance", "f32 [O]"),
                ("shortcut?", "T [N, Ho, Wo, O] or [N, Ho, O]"),
            ],
            &[("y", "T [N, Ho, Wo, O] or [N, Ho, O]")],
        ],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |conv: Conv2d, relu, x: [usize; 4], kernel: usize, channels: usize, shortcut: Option<[usize; 2]>| {
        let op = ConvNorm { relu, ..ConvNorm::new(conv, BatchNormFixed::new(1e-5)) };
        let weight = [kernel, kernel, x[3] / conv.groups, channels];
        let (vector, y) = ([channels], shortcut.map(|[h, w]| [x[0], h, w, channels]));
        let mut shapes: Vec<&[usize]> = vec![&x, &weight, &vector, &vector, &vector, &vector];
        shapes.extend(y.as_ref().map(<[usize; 4]>::as_slice));
        let case = (2..INPUTS).fold(Case::new(op, &shapes), Case::f32);
        case.draw(5, Draw::Between(0.5, 2.0)).no_gradient()
    };
    let mut cases = vec![
        case(Conv2d::new(1, 0), false, [1, 1, 1, 1], 1, 1, None),
        case(Conv2d::new(1, 1), true, [2, 5, 7, 3], 3, 5, None),
        case(Conv2d::new(2, 1), false, [2, 6, 5, 8], 3, 12, Some([3, 3])),
        case(Conv2d::new(1, 1), true, [2, 4, 4, 32], 3, 32, Some([4, 4])),
        // Whole in tiles of any size, then sticking out of several.
        case(Conv2d::new(1, 0), false, [2, 8, 8, 128], 1, 128, None),
        case(Conv2d::new(1, 0), true, [2, 8, 8, 128], 1, 128, Some([8, 8])),
        case(Conv2d::new(1, 0), true, [2, 9, 8, 8], 1, 132, None),
        case(Conv2d::new(1, 0), false, [2, 9, 8, 8], 1, 132, Some([9, 8])),
        case(Conv2d::new(1, 1).groups(2), true, [2, 4, 3, 6], 3, 10, Some([4, 3])),
        case(Conv2d::new(1, 1).groups(2), false, [2, 5, 4, 8], 3, 16, None),
    ];
    let rows = ConvNorm { relu: true, ..ConvNorm::new(Conv2d::new(1, 0), BatchNormFixed::new(1e-5)) };
    let rows = Case::new(rows, &[&[2, 7, 6], &[6, 12], &[12], &[12], &[12], &[12], &[2, 7, 12]]);
    cases.push((2..INPUTS).fold(rows, Case::f32).draw(5, Draw::Between(0.5, 2.0)).no_gradient());
    let real = |h, c, o, kernel, stride, shortcut, layer| {
        let conv = Conv2d::new(stride, kernel / 2);
        case(conv, true, [32, h, h, c], kernel, o, shortcut).real(layer)
    };
    cases.push(real(224, 3, 64, 7, 2, None, "resnet50 stem, batch 32"));
    cases.push(real(56, 64, 256, 1, 1, Some([56, 56]), "resnet50 stage2 1x1, batch 32"));
    cases.push(real(14, 256, 256, 3, 1, None, "resnet50 stage4 3x3, batch 32"));
    cases
}
