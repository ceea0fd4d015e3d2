//! The gradients of a spatially adaptive convolution for its weights: its own, and those that the attention is made with.

use serde::{Deserialize, Serialize};

use super::conv2d_product::add_slices;
use super::spatially_adaptive_conv::{ATTRIBUTES, Attention, as_factor, in_fours, types};
use super::spatially_adaptive_conv_backward::{back, cost};
use super::spatially_adaptive_conv_sizes::{Sizes, must};
use super::{Slice, SpatiallyAdaptiveConv, SpatiallyAdaptiveConvBackwardX};
use crate::graph::{Cost, Function, GraphError, Io, Maths, Op, Regrouping, Signature, Tensor, Value};
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// x, raw, attention_weight, attention_bias, dy → dweight [K, K, C, M].
///
/// dweight[t, n, m] = Σ over pixels p of attention[p, t, n] x[p + t, n] dy[p, m].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpatiallyAdaptiveConvBackwardWeight(pub SpatiallyAdaptiveConv);

/// x, raw, attention_weight, attention_bias, turned [M, K, K, C], dy → dattention_weight [A, A, R, K·K·C], dattention_bias `f32 [K·K·C]`.
///
/// What goes into f, z[p, t, n], gets dz[p, t, n] = f′(z[p, t, n]) x[p + t, n] Σ over m of weight[t, n, m] dy[p, m]; then
/// dattention_weight[.., t, n] = Σ over pixels p of the patch of raw around p dz[p, t, n], and dattention_bias = Σ over p of dz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpatiallyAdaptiveConvBackwardAttention(pub SpatiallyAdaptiveConv);

kernel! {
    /// A workgroup a slice of the pixels, a tile of columns, and HELD tiles of output channels.
    struct BackwardWeight = "spatially_adaptive_conv/backward_weight" {
        params { batch: u32, slice_pixels: u32 }
        read { x, raw, attention_weight, attention_bias, dy }
        write { partial }
    }
}

kernel! {
    /// A workgroup a slice of the pixels, a tile of columns, and HELD tiles of a patch's numbers.
    struct BackwardAttention = "spatially_adaptive_conv/backward_attention" {
        params { batch: u32, slice_pixels: u32 }
        read { x, raw, attention_weight, attention_bias, turned, dy }
        write { partial_weight, partial_bias }
    }
}

impl SpatiallyAdaptiveConvBackwardWeight {
    fn sizes(self, inputs: &[Tensor]) -> Result<Sizes, String> {
        let [x, raw, attention_weight, attention_bias, dy] = inputs else {
            return Err("takes x, raw, attention_weight, attention_bias and dy".to_owned());
        };
        let (Some([_, _, _, channels]), Some([_, _, _, out])) = (x.shape.rank(), dy.shape.rank()) else {
            return Err("x must be [N, H, W, C] and dy [N, H, W, M]".to_owned());
        };
        let sizes = Sizes::of(self.0, [raw, attention_weight, attention_bias], [channels, out])?;
        must("x", x, &raw.shaped(sizes.image(channels)))?;
        must("dy", dy, &raw.shaped(sizes.image(out)))?;
        Ok(sizes)
    }

    /// `factor`: what x, weighed by the attention, is multiplied as.
    fn computed<T: Real>(self, inputs: &[&Array<T>], factor: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let &[x, raw, attention_weight, attention_bias, dy] = inputs else { return vec![] };
        let ([.., channels], [.., out]) = (x.dims::<4>(), dy.dims::<4>());
        let attention = Attention::of(self.0, [raw, attention_weight, attention_bias], [channels, out]);
        let sizes = attention.sizes;
        let dweight = [sizes.kernel, sizes.kernel, channels, out];
        let dweight = Array::from_rows(&dweight, channels * out, |tap, dweight| {
            for pixel in 0..sizes.pixels() {
                let Some(seen) = sizes.neighbor(pixel, tap, sizes.kernel) else { continue };
                let dy = &dy.data[pixel * out..][..out];
                for (c, before) in attention.before(pixel, tap).into_iter().enumerate() {
                    let weighed = factor(self.0.nonlinearity.f(before) * x.data[seen * channels + c]);
                    let dweight = dweight[c * out..][..out].iter_mut();
                    dweight.zip(dy).for_each(|(dweight, &dy)| *dweight += weighed * dy);
                }
            }
        });
        vec![dweight]
    }
}

impl Op for SpatiallyAdaptiveConvBackwardWeight {
    fn name(&self) -> &'static str {
        "spatially_adaptive_conv_backward_weight"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let Sizes { kernel, channels, out, .. } = self.sizes(inputs)?;
        Ok(vec![inputs[0].shaped([kernel, kernel, channels, out])])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.sizes(io.inputs) else { return };
        let cut = sizes.cut(self.0, io, [sizes.out, sizes.columns()], sizes.pixels());
        let [slices, slice_pixels] = cut.sliced(io);
        let count = io.outputs[0].shape.count();
        let partial = out.scratch(slices * count);
        let [x, raw, attention_weight, attention_bias, dy] = [0, 1, 2, 3, 4].map(|at| io.input(at));
        let (batch, slice_pixels) = (word(sizes.batch), word(slice_pixels));
        let call = BackwardWeight { batch, slice_pixels, x, raw, attention_weight, attention_bias, dy, partial };
        out.dispatch(&call, cut.holding(0), cut.grid(0, slices));
        add_slices(io, out, partial, io.output(0), [slices, count]);
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
        self.0.nonlinearity.functions_used()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.sizes(inputs), [1, 1], [inputs, outputs])
    }
}

impl Maths for SpatiallyAdaptiveConvBackwardWeight {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |number| number)
    }
}

impl SpatiallyAdaptiveConvBackwardAttention {
    fn sizes(self, inputs: &[Tensor]) -> Result<Sizes, String> {
        let [x, raw, attention_weight, attention_bias, turned, dy] = inputs else {
            return Err("takes x, raw, attention_weight, attention_bias, turned and dy".to_owned());
        };
        let rest = [dy, raw, attention_weight, attention_bias, turned].map(Tensor::clone);
        let sizes = SpatiallyAdaptiveConvBackwardX(self.0).sizes(&rest)?;
        must("x", x, &raw.shaped(sizes.image(sizes.channels)))?;
        Ok(sizes)
    }

    /// `factor`: what dz is multiplied as.
    fn computed<T: Real>(self, inputs: &[&Array<T>], factor: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let &[x, raw, attention_weight, attention_bias, turned, dy] = inputs else { return vec![] };
        let [out, _, _, channels] = turned.dims();
        let attention = Attention::of(self.0, [raw, attention_weight, attention_bias], [channels, out]);
        let sizes = attention.sizes;
        let (patch, side, columns) = (sizes.patch(), sizes.attention_kernel, sizes.columns());
        // Tap by tap: first the bias's channels, then those of each of the patch's numbers.
        let by_tap = Array::from_rows(&[sizes.taps(), 1 + patch, channels], (1 + patch) * channels, |tap, sums| {
            for pixel in 0..sizes.pixels() {
                let Some(seen) = sizes.neighbor(pixel, tap, sizes.kernel) else { continue };
                let slopes = back(&sizes, turned, &dy.data[pixel * out..][..out], tap);
                let before = attention.before(pixel, tap).into_iter().zip(&x.data[seen * channels..]);
                let dz = |(slope, (before, &x)): (T, (T, &T))| factor(self.0.nonlinearity.df(before) * x * slope);
                let dz: Vec<T> = slopes.into_iter().zip(before).map(dz).collect();
                let (bias, weights) = sums.split_at_mut(channels);
                bias.iter_mut().zip(&dz).for_each(|(sum, &dz)| *sum += dz);
                for (at, sums) in weights.chunks_mut(channels).enumerate() {
                    let Some(place) = sizes.neighbor(pixel, at / sizes.raw, side) else { continue };
                    let number = raw.data[place * sizes.raw + at % sizes.raw];
                    sums.iter_mut().zip(&dz).for_each(|(sum, &dz)| *sum += number * dz);
                }
            }
        });
        let of = |number: usize, column: usize| {
            by_tap.data[(column / channels * (1 + patch) + number) * channels + column % channels]
        };
        let weight = Array::from_fn(&[side, side, sizes.raw, columns], |at| of(1 + at / columns, at % columns));
        vec![weight, Array::from_fn(&[columns], |column| of(0, column))]
    }
}

impl Op for SpatiallyAdaptiveConvBackwardAttention {
    fn name(&self) -> &'static str {
        "spatially_adaptive_conv_backward_attention"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self.sizes(inputs)?;
        Ok(vec![inputs[2].clone(), inputs[3].clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.sizes(io.inputs) else { return };
        // The bias's sums are those of one number more, which is 1.
        let cut = sizes.cut(self.0, io, [sizes.patch() + 1, sizes.columns()], sizes.pixels());
        let [slices, slice_pixels] = cut.sliced(io);
        let counts = [0, 1].map(|at| io.outputs[at].shape.count());
        let [partial_weight, partial_bias] = counts.map(|count| out.scratch(slices * count));
        let [x, raw, attention_weight, attention_bias, turned, dy] = [0, 1, 2, 3, 4, 5].map(|at| io.input(at));
        let call = BackwardAttention {
            batch: word(sizes.batch),
            slice_pixels: word(slice_pixels),
            x,
            raw,
            attention_weight,
            attention_bias,
            turned,
            dy,
            partial_weight,
            partial_bias,
        };
        out.dispatch(&call, cut.holding(0), cut.grid(0, slices));
        add_slices(io, out, partial_weight, io.output(0), [slices, counts[0]]);
        add_slices(io, out, partial_bias, io.output(1), [slices, counts[1]]);
    }

    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let Ok(sizes) = self.sizes(&types(graph.graph, inputs)) else { return Ok(None) };
        let Some(inputs) = in_fours(&sizes, inputs, graph.graph)? else { return Ok(None) };
        let made = graph.graph.apply(*self, &inputs)?;
        let own = Slice { axis: 2, start: 0, length: sizes.raw };
        Ok(Some(vec![graph.graph.apply_one(own, &made[..1])?, made[1]]))
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        (outputs[0].elem == Elem::F16).then(|| self.computed(inputs, as_factor))
    }

    fn functions(&self) -> &'static [Function] {
        self.0.nonlinearity.functions_used()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.sizes(inputs), [2, 1], [inputs, outputs])
    }
}

impl Maths for SpatiallyAdaptiveConvBackwardAttention {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |number| number)
    }
}

pub(super) const SIGNATURES: [Signature; 2] = [
    Signature::of::<SpatiallyAdaptiveConvBackwardWeight>(
        "spatially_adaptive_conv_backward_weight",
        "the gradient of spatially_adaptive_conv for its weight",
        ATTRIBUTES,
        [
            &[
                ("x", "T [N, H, W, C]"),
                ("raw", "T [N, H, W, R]"),
                ("attention_weight", "T [A, A, R, K·K·C]"),
                ("attention_bias", "f32 [K·K·C]"),
                ("dy", "T [N, H, W, M]"),
            ],
            &[("dweight", "T [K, K, C, M]")],
        ],
    ),
    Signature::of::<SpatiallyAdaptiveConvBackwardAttention>(
        "spatially_adaptive_conv_backward_attention",
        "the gradients of spatially_adaptive_conv for its attention_weight and attention_bias; turned is weight with its last axis first",
        ATTRIBUTES,
        [
            &[
                ("x", "T [N, H, W, C]"),
                ("raw", "T [N, H, W, R]"),
                ("attention_weight", "T [A, A, R, K·K·C]"),
                ("attention_bias", "f32 [K·K·C]"),
                ("turned", "T [M, K, K, C]"),
                ("dy", "T [N, H, W, M]"),
            ],
            &[("dattention_weight", "T [A, A, R, K·K·C]"), ("dattention_bias", "f32 [K·K·C]")],
        ],
    ),
];
