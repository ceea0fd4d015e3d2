//! The gradients of a spatially adaptive convolution for its weights: its own, and those that the attention is made with.

use serde::{Deserialize, Serialize};

use super::conv2d_product::{Part, add_slices_of};
use super::spatially_adaptive_conv::{ATTRIBUTES, Attention, as_factor, in_fours, types};
use super::spatially_adaptive_conv_backward::{back, cost};
use super::spatially_adaptive_conv_sizes::{Sizes, must};
use super::{Slice, SpatiallyAdaptiveConv, SpatiallyAdaptiveConvBackwardX};
use crate::graph::{Cost, Function, GraphError, Io, Maths, Op, Regrouping, Signature, Tensor, Value};
use crate::kernel::{Elem, Grid, Recording, word};
use crate::reference::{Array, Real};

/// x, raw, attention_weight, attention_bias, turned [M, K, K, C], dy → dturned [M, K, K, C], dattention_weight [A, A, R, K·K·C],
/// dattention_bias `f32 [K·K·C]`; turned is the weight with its last axis first.
///
/// dturned[m, t, n] = Σ over pixels p of attention[p, t, n] x[p + t, n] dy[p, m]. What goes into f, z[p, t, n], gets dz[p, t, n] =
/// f′(z[p, t, n]) x[p + t, n] Σ over m of turned[m, t, n] dy[p, m]; then dattention_weight[.., t, n] = Σ over pixels p of the patch of
/// raw around p dz[p, t, n], and dattention_bias = Σ over p of dz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpatiallyAdaptiveConvBackwardWeights(pub SpatiallyAdaptiveConv);

kernel! {
    /// A workgroup a slice of the pixels, a tile of columns, and some tiles of output channels and of a patch's numbers.
    struct BackwardWeights = "spatially_adaptive_conv/backward_weights" {
        params { batch: u32, slice_pixels: u32 }
        read { x, raw, attention_weight, attention_bias, turned, dy }
        write { partial }
    }
}

impl SpatiallyAdaptiveConvBackwardWeights {
    fn sizes(self, inputs: &[Tensor]) -> Result<Sizes, String> {
        let [x, raw, attention_weight, attention_bias, turned, dy] = inputs else {
            return Err("takes x, raw, attention_weight, attention_bias, turned and dy".to_owned());
        };
        let rest = [dy, raw, attention_weight, attention_bias, turned].map(Tensor::clone);
        let sizes = SpatiallyAdaptiveConvBackwardX(self.0).sizes(&rest)?;
        must("x", x, &raw.shaped(sizes.image(sizes.channels)))?;
        Ok(sizes)
    }

    /// `factor`: what x, weighed by the attention, and dz are multiplied as.
    fn computed<T: Real>(self, inputs: &[&Array<T>], factor: impl Fn(T) -> T + Sync) -> Vec<Array<T>> {
        let &[x, raw, attention_weight, attention_bias, turned, dy] = inputs else { return vec![] };
        let [out, _, _, channels] = turned.dims();
        let attention = Attention::of(self.0, [raw, attention_weight, attention_bias], [channels, out]);
        let sizes = attention.sizes;
        let (patch, side, columns) = (sizes.patch(), sizes.attention_kernel, sizes.columns());
        // Tap by tap, a row of channels each: of the output channels, of the patch's numbers, of the bias.
        let rows = out + patch + 1;
        let by_tap = Array::from_rows(&[sizes.taps(), rows, channels], rows * channels, |tap, sums| {
            let (turned_sums, sums) = sums.split_at_mut(out * channels);
            let (patch_sums, bias_sums) = sums.split_at_mut(patch * channels);
            for pixel in 0..sizes.pixels() {
                let Some(seen) = sizes.neighbor(pixel, tap, sizes.kernel) else { continue };
                let dy = &dy.data[pixel * out..][..out];
                let before = attention.before(pixel, tap);
                let seen = || before.iter().zip(&x.data[seen * channels..]);
                let weighed: Vec<T> = seen().map(|(&z, &x)| factor(self.0.nonlinearity.f(z) * x)).collect();
                turned_sums.chunks_mut(channels).zip(dy).for_each(|(sums, &dy)| add(sums, dy, &weighed));
                let slopes = seen().zip(back(&sizes, turned, dy, tap));
                let dz: Vec<T> =
                    slopes.map(|((&z, &x), slope)| factor(self.0.nonlinearity.df(z) * x * slope)).collect();
                add(bias_sums, T::of(1.0), &dz);
                for (at, sums) in patch_sums.chunks_mut(channels).enumerate() {
                    let Some(place) = sizes.neighbor(pixel, at / sizes.raw, side) else { continue };
                    add(sums, raw.data[place * sizes.raw + at % sizes.raw], &dz);
                }
            }
        });
        // Columns are taps' channels one behind the other.
        let of =
            |row: usize, column: usize| by_tap.data[(column / channels * rows + row) * channels + column % channels];
        vec![
            Array::from_fn(&[out, sizes.kernel, sizes.kernel, channels], |at| of(at / columns, at % columns)),
            Array::from_fn(&[side, side, sizes.raw, columns], |at| of(out + at / columns, at % columns)),
            Array::from_fn(&[columns], |column| of(out + patch, column)),
        ]
    }
}

/// Of so many tiles of dturned's and dattention_weight's rows, how many a workgroup holds: of both, if that are no more than `most`,
/// or of one after the other.
fn held([turned, patches]: [usize; 2], most: usize) -> Vec<[usize; 2]> {
    match turned + patches <= most {
        true => vec![[turned, patches]],
        false => vec![[turned.min(most), 0], [0, patches.min(most)]],
    }
}

/// sums += factor numbers
fn add<T: Real>(sums: &mut [T], factor: T, numbers: &[T]) {
    sums.iter_mut().zip(numbers).for_each(|(sum, &number)| *sum += factor * number);
}

impl Op for SpatiallyAdaptiveConvBackwardWeights {
    fn name(&self) -> &'static str {
        "spatially_adaptive_conv_backward_weights"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self.sizes(inputs)?;
        Ok(vec![inputs[4].clone(), inputs[2].clone(), inputs[3].clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.sizes(io.inputs) else { return };
        // The bias's sums are those of one number more, which is 1.
        let (channels, numbers, columns) = (sizes.out, sizes.patch() + 1, sizes.columns());
        let rows = channels + numbers;
        let cut = sizes.cut(self.0, io, [rows, columns], sizes.pixels());
        let [slices, slice_pixels] = cut.sliced(io);
        let partial = out.scratch(slices * rows * columns);
        let [x, raw, attention_weight, attention_bias, turned, dy] = [0, 1, 2, 3, 4, 5].map(|at| io.input(at));
        let (batch, slice_pixels) = (word(sizes.batch), word(slice_pixels));
        let call =
            BackwardWeights { batch, slice_pixels, x, raw, attention_weight, attention_bias, turned, dy, partial };
        let tiles = [channels, numbers].map(|rows| rows.div_ceil(cut.tiles.tile[0]));
        for held in held(tiles, cut.most_held()) {
            let [turned, patches] = held.map(word);
            let variant = cut.variant.clone().constant("TURNED_HELD", turned).constant("PATCHES_HELD", patches);
            let groups = [0, 1].map(|at| tiles[at].div_ceil(held[at].max(1)) * held[at].min(1));
            let wide = columns.div_ceil(cut.tiles.tile[1]);
            out.dispatch(&call, variant, Grid::volume(wide, groups[0].max(groups[1]), slices));
        }
        let mut first = 0;
        for at in 0..io.outputs.len() {
            let count = io.outputs[at].shape.count();
            add_slices_of(io, out, partial, io.output(at), slices, Part { first, count, of: rows * columns });
            first += count;
        }
    }

    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let Ok(sizes) = self.sizes(&types(graph.graph, inputs)) else { return Ok(None) };
        let Some(inputs) = in_fours(&sizes, inputs, graph.graph)? else { return Ok(None) };
        let mut made = graph.graph.apply(*self, &inputs)?;
        let own = Slice { axis: 2, start: 0, length: sizes.raw };
        made[1] = graph.graph.apply_one(own, &made[1..2])?;
        Ok(Some(made))
    }

    fn honest(&self, inputs: &[&Array<f32>], outputs: &[Tensor]) -> Option<Vec<Array<f32>>> {
        (outputs[0].elem == Elem::F16).then(|| self.computed(inputs, as_factor))
    }

    fn functions(&self) -> &'static [Function] {
        self.0.nonlinearity.functions_used()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.sizes(inputs), [2, 2], [inputs, outputs])
    }
}

impl Maths for SpatiallyAdaptiveConvBackwardWeights {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        self.computed(inputs, |number| number)
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<SpatiallyAdaptiveConvBackwardWeights>(
    "spatially_adaptive_conv_backward_weights",
    "the gradients of spatially_adaptive_conv for its weight, attention_weight and attention_bias; turned is weight with its last axis first",
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
        &[
            ("dturned", "T [M, K, K, C]"),
            ("dattention_weight", "T [A, A, R, K·K·C]"),
            ("dattention_bias", "f32 [K·K·C]"),
        ],
    ],
);
