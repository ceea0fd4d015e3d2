//! Spatially adaptive convolution: the kernel is modulated at every pixel by an attention from the network's raw input.
//!
//! Xu et al. 2020, SqueezeSegV3: attention varies over space, input channel and tap, and comes from a convolution of the raw input.

use half::f16;
use serde::{Deserialize, Serialize};

use super::spatially_adaptive_conv_sizes::{Sizes, must};
use super::{Entry, Map, Pad, Permute, SpatiallyAdaptiveConvBackwardWeights, SpatiallyAdaptiveConvBackwardX, by_image};
use crate::graph::{
    ByImage, Cost, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Regrouping, Signature, Tensor, Value,
};
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// x [N, H, W, C], raw [N, H, W, R], attention_weight [A, A, R, K·K·C], attention_bias `f32 [K·K·C]`, weight [K, K, C, M] → y [N, H, W, M].
///
/// y[p, m] = Σ over taps t and channels n of weight[t, n, m] attention[p, t, n] x[p + t, n], where attention[p, t, n] = f(the patch of
/// raw around p · attention_weight[.., t, n] + attention_bias[t, n]); beyond the image x and raw are 0. raw gets no gradient: it
/// is what the network is given. Neither the attention nor x as taps see it, K·K times as many numbers as x, ever stands in
/// memory: kernels make both tile by tile, forward and backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpatiallyAdaptiveConv {
    /// Rows and columns of the convolution's kernel, K: odd.
    pub kernel: usize,
    /// Rows and columns of a patch of raw, A: odd.
    pub attention_kernel: usize,
    /// f, through which attention goes.
    #[serde(flatten)]
    pub nonlinearity: Map,
}

kernel! {
    /// A workgroup a tile of pixels and output channels.
    struct Forward = "spatially_adaptive_conv/forward" {
        params { batch: u32 }
        read { x, raw, attention_weight, attention_bias, weight }
        write { y }
    }
}

impl SpatiallyAdaptiveConv {
    /// The sizes for these inputs.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    fn sizes(self, inputs: &[Tensor]) -> Result<Sizes, String> {
        let [x, raw, attention_weight, attention_bias, weight] = inputs else {
            return Err("takes x, raw, attention_weight, attention_bias and weight".to_owned());
        };
        let (Some([_, _, _, channels]), Some([_, _, _, out])) = (x.shape.rank(), weight.shape.rank()) else {
            return Err("x must be [N, H, W, C] and weight [K, K, C, M]".to_owned());
        };
        let sizes = Sizes::of(self, [raw, attention_weight, attention_bias], [channels, out])?;
        must("x", x, &raw.shaped(sizes.image(channels)))?;
        must("weight", weight, &raw.shaped([self.kernel, self.kernel, channels, out]))?;
        Ok(sizes)
    }
}

impl Op for SpatiallyAdaptiveConv {
    fn name(&self) -> &'static str {
        "spatially_adaptive_conv"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let sizes = self.sizes(inputs)?;
        Ok(vec![inputs[0].shaped(sizes.image(sizes.out))])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.sizes(io.inputs) else { return };
        let cut = sizes.cut(*self, io, [sizes.pixels(), sizes.out], sizes.columns());
        let [x, raw, attention_weight, attention_bias, weight] = [0, 1, 2, 3, 4].map(|at| io.input(at));
        let batch = word(sizes.batch);
        let call = Forward { batch, x, raw, attention_weight, attention_bias, weight, y: io.output(0) };
        let (variant, grid) = cut.holding_columns();
        out.dispatch(&call, variant, grid);
    }

    /// Gradients want the weight with its last axis first: so its rows, too, run along the columns of the attention.
    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let [x, raw, attention_weight, attention_bias, weight] = [0, 1, 2, 3, 4].map(|at| node.inputs[at]);
        let attention = [raw, attention_weight, attention_bias];
        let turned = graph.apply_one(Permute { axes: vec![3, 0, 1, 2] }, &[weight])?;
        let of = |before: &[Value], behind: &[Value]| [before, &attention, behind].concat();
        let dx = graph.apply_one(SpatiallyAdaptiveConvBackwardX(*self), &of(&[dy], &[turned]))?;
        let made = graph.apply(SpatiallyAdaptiveConvBackwardWeights(*self), &of(&[x], &[turned, dy]))?;
        let dweight = graph.apply_one(Permute { axes: vec![1, 2, 3, 0] }, &made[..1])?;
        Ok(vec![Some(dx), None, Some(made[1]), Some(made[2]), Some(dweight)])
    }

    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let Ok(sizes) = self.sizes(&types(graph.graph, inputs)) else { return Ok(None) };
        let Some(inputs) = in_fours(&sizes, inputs, graph.graph)? else { return Ok(None) };
        graph.graph.apply(*self, &inputs).map(Some)
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        (outputs[0].elem == Elem::F16).then(|| self.computed(inputs, as_factor))
    }

    fn functions(&self) -> &'static [Function] {
        self.nonlinearity.functions_used()
    }

    /// Every number of the attention is made once.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let each = |sizes: Sizes| sizes.pixels() * sizes.columns() * (sizes.patch() + sizes.out);
        Cost {
            multiply_adds: self.sizes(inputs).map_or(0, each) as u64,
            bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum(),
        }
    }
}

/// The inputs with more channels of raw and attention_weight, inputs 1 and 2, that are 0: as many as make fours, so that a patch's
/// numbers are loaded four at a time. Nothing where all else is not, or raw is.
pub(super) fn in_fours(sizes: &Sizes, inputs: &[Value], graph: &mut Graph) -> Result<Option<Vec<Value>>, GraphError> {
    let missing = sizes.raw.next_multiple_of(4) - sizes.raw;
    if missing == 0 || !sizes.channels.is_multiple_of(4) || !sizes.out.is_multiple_of(4) {
        return Ok(None);
    }
    let mut inputs = inputs.to_vec();
    for (input, axis) in [(1, 3), (2, 2)] {
        inputs[input] = graph.apply_one(Pad { axis, before: 0, after: missing }, &[inputs[input]])?;
    }
    Ok(Some(inputs))
}

/// The types of values.
pub(super) fn types(graph: &Graph, values: &[Value]) -> Vec<Tensor> {
    values.iter().map(|&value| graph.tensor(value).clone()).collect()
}

/// What cooperative matrices multiply by, of a number in f32.
pub(super) fn as_factor(number: f32) -> f32 {
    f16::from_f32(number).to_f32()
}

/// What the attention is made of, with numbers.
pub(super) struct Attention<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) raw: &'a Array<T>,
    pub(super) weight: &'a Array<T>,
    pub(super) bias: &'a Array<T>,
}

impl<'a, T: Real> Attention<'a, T> {
    /// Of [raw, attention_weight, attention_bias], for so many channels of x and y.
    pub(super) fn of(op: SpatiallyAdaptiveConv, inputs: [&'a Array<T>; 3], [channels, out]: [usize; 2]) -> Self {
        let [raw, weight, bias] = inputs;
        let [batch, height, width, raw_channels] = raw.dims();
        let (kernel, attention_kernel) = (op.kernel, op.attention_kernel);
        let sizes = Sizes { batch, height, width, channels, raw: raw_channels, out, kernel, attention_kernel };
        Self { sizes, raw, weight, bias }
    }

    /// Before f: a pixel's attention for the channels of a tap.
    pub(super) fn before(&self, pixel: usize, tap: usize) -> Vec<T> {
        let Sizes { channels, raw, attention_kernel, .. } = self.sizes;
        let first = tap * channels;
        let mut sums = self.bias.data[first..][..channels].to_vec();
        for place in 0..attention_kernel * attention_kernel {
            let Some(seen) = self.sizes.neighbor(pixel, place, attention_kernel) else { continue };
            for r in 0..raw {
                let number = self.raw.data[seen * raw + r];
                let weights = &self.weight.data[(place * raw + r) * self.sizes.columns() + first..];
                sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += number * weight);
            }
        }
        sums
    }
}

impl Maths for SpatiallyAdaptiveConv {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |number| number)
    }
}

impl SpatiallyAdaptiveConv {
    /// `factor`: what x, weighed by the attention, is multiplied as.
    fn computed<T: Real>(&self, inputs: &[&Array<T>], factor: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let &[x, raw, attention_weight, attention_bias, weight] = inputs else { return vec![] };
        let [_, _, channels, out] = weight.dims();
        let attention = Attention::of(*self, [raw, attention_weight, attention_bias], [channels, out]);
        let y = Array::from_rows(&attention.sizes.image(out), out, |pixel, y| {
            for tap in 0..attention.sizes.taps() {
                let Some(seen) = attention.sizes.neighbor(pixel, tap, self.kernel) else { continue };
                for (c, before) in attention.before(pixel, tap).into_iter().enumerate() {
                    let weighed = factor(self.nonlinearity.f(before) * x.data[seen * channels + c]);
                    let weights = &weight.data[(tap * channels + c) * out..];
                    y.iter_mut().zip(weights).for_each(|(y, &weight)| *y += weighed * weight);
                }
            }
        });
        vec![y]
    }
}

pub(super) const ATTRIBUTES: &[(&str, &str)] = &[
    ("kernel", "K, odd: rows and columns of weight"),
    ("attention_kernel", "A, odd: rows and columns of a patch of raw"),
    ("function", "f: \"sigmoid\", \"relu\" or \"gelu\""),
];

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<SpatiallyAdaptiveConv>(
            "spatially_adaptive_conv",
            "y[p, m] = Σ over taps t and channels n of weight[t, n, m] f(patch of raw around p · attention_weight[.., t, n] + attention_bias[t, n]) x[p + t, n], 0 beyond the image",
            ATTRIBUTES,
            [
                &[
                    ("x", "T [N, H, W, C]"),
                    ("raw", "T [N, H, W, R]"),
                    ("attention_weight", "T [A, A, R, K·K·C]"),
                    ("attention_bias", "f32 [K·K·C]"),
                    ("weight", "T [K, K, C, M]"),
                ],
                &[("y", "T [N, H, W, M]")],
            ],
        ),
        super::spatially_adaptive_conv_backward::SIGNATURE,
        super::spatially_adaptive_conv_weights::SIGNATURE,
    ],
    cases: super::spatially_adaptive_conv_cases::cases,
};
