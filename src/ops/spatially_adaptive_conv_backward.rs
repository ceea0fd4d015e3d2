//! The gradient of a spatially adaptive convolution for its x; the attention is made again.

use serde::{Deserialize, Serialize};

use super::spatially_adaptive_conv::{ATTRIBUTES, Attention, in_fours, types};
use super::spatially_adaptive_conv_sizes::{Sizes, must};
use super::{SpatiallyAdaptiveConv, by_image};
use crate::graph::{ByImage, Cost, Function, GraphError, Io, Maths, Op, Regrouping, Signature, Tensor, Value};
use crate::kernel::{Recording, word};
use crate::reference::{Array, Real};

/// dy, raw, attention_weight, attention_bias, turned [M, K, K, C] → dx [N, H, W, C]; turned is the weight with its last axis first.
///
/// dx[p, n] = Σ over taps t of attention[p − t, t, n] Σ over m of weight[t, n, m] dy[p − t, m].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpatiallyAdaptiveConvBackwardX(pub SpatiallyAdaptiveConv);

kernel! {
    /// A workgroup a tile of pixels and channels of x.
    struct BackwardX = "spatially_adaptive_conv/backward_x" {
        params { batch: u32 }
        read { dy, raw, attention_weight, attention_bias, turned }
        write { dx }
    }
}

impl SpatiallyAdaptiveConvBackwardX {
    pub(super) fn sizes(self, inputs: &[Tensor]) -> Result<Sizes, String> {
        let [dy, raw, attention_weight, attention_bias, turned] = inputs else {
            return Err("takes dy, raw, attention_weight, attention_bias and turned".to_owned());
        };
        let Some([out, _, _, channels]) = turned.shape.rank() else {
            return Err("turned must be [M, K, K, C]".to_owned());
        };
        let sizes = Sizes::of(self.0, [raw, attention_weight, attention_bias], [channels, out])?;
        must("dy", dy, &raw.shaped(sizes.image(out)))?;
        must("turned", turned, &raw.shaped([out, self.0.kernel, self.0.kernel, channels]))?;
        Ok(sizes)
    }
}

impl Op for SpatiallyAdaptiveConvBackwardX {
    fn name(&self) -> &'static str {
        "spatially_adaptive_conv_backward_x"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let sizes = self.sizes(inputs)?;
        Ok(vec![inputs[0].shaped(sizes.image(sizes.channels))])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Ok(sizes) = self.sizes(io.inputs) else { return };
        let extent = [sizes.pixels(), sizes.channels];
        let cut = sizes.cut(self.0, io, extent, sizes.taps() * (sizes.patch() + sizes.out));
        let [dy, raw, attention_weight, attention_bias, turned] = [0, 1, 2, 3, 4].map(|at| io.input(at));
        let batch = word(sizes.batch);
        let call = BackwardX { batch, dy, raw, attention_weight, attention_bias, turned, dx: io.output(0) };
        out.dispatch(&call, cut.variant, cut.tiles.grid(extent, 1));
    }

    fn regrouped(&self, inputs: &[Value], graph: &mut Regrouping<'_>) -> Result<Option<Vec<Value>>, GraphError> {
        let Ok(sizes) = self.sizes(&types(graph.graph, inputs)) else { return Ok(None) };
        let Some(inputs) = in_fours(&sizes, inputs, graph.graph)? else { return Ok(None) };
        graph.graph.apply(*self, &inputs).map(Some)
    }

    fn functions(&self) -> &'static [Function] {
        self.0.nonlinearity.functions_used()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        cost(self.sizes(inputs), [1, 1], [inputs, outputs])
    }
}

impl Maths for SpatiallyAdaptiveConvBackwardX {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[dy, raw, attention_weight, attention_bias, turned] = inputs else { return vec![] };
        let [out, _, _, channels] = turned.dims();
        let attention = Attention::of(self.0, [raw, attention_weight, attention_bias], [channels, out]);
        let sizes = attention.sizes;
        let pixels = sizes.height * sizes.width;
        let dx = Array::from_rows(&sizes.image(channels), pixels * channels, |image, dx| {
            for (pixel, tap) in (0..pixels).flat_map(|at| (0..sizes.taps()).map(move |tap| (at, tap))) {
                let Some(seen) = sizes.neighbor(pixel, tap, sizes.kernel) else { continue };
                let pixel = image * pixels + pixel;
                let slopes = back(&sizes, turned, &dy.data[pixel * out..][..out], tap);
                let slopes = attention.before(pixel, tap).into_iter().zip(slopes);
                let dx = dx[seen * channels..][..channels].iter_mut();
                dx.zip(slopes).for_each(|(dx, (before, slope))| *dx += self.0.nonlinearity.f(before) * slope);
            }
        });
        vec![dx]
    }
}

/// A pixel's dy times the weight of a tap: a number a channel of x.
pub(super) fn back<T: Real>(sizes: &Sizes, turned: &Array<T>, dy: &[T], tap: usize) -> Vec<T> {
    let mut sums = vec![T::default(); sizes.channels];
    for (m, &dy) in dy.iter().enumerate() {
        let weights = &turned.data[m * sizes.columns() + tap * sizes.channels..];
        sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += dy * weight);
    }
    sums
}

/// A patch and dy are multiplied so often for every number of the attention.
pub(super) fn cost(sizes: Result<Sizes, String>, [patches, products]: [usize; 2], tensors: [&[Tensor]; 2]) -> Cost {
    let each = |sizes: Sizes| sizes.pixels() * sizes.columns() * (patches * sizes.patch() + products * sizes.out);
    Cost {
        multiply_adds: sizes.map_or(0, each) as u64,
        bytes: tensors.iter().flat_map(|side| side.iter()).map(|tensor| tensor.bytes() as u64).sum(),
    }
}

pub(super) const SIGNATURE: Signature = Signature::of::<SpatiallyAdaptiveConvBackwardX>(
    "spatially_adaptive_conv_backward_x",
    "the gradient of spatially_adaptive_conv for its x; turned is weight with its last axis first",
    ATTRIBUTES,
    [
        &[
            ("dy", "T [N, H, W, M]"),
            ("raw", "T [N, H, W, R]"),
            ("attention_weight", "T [A, A, R, K·K·C]"),
            ("attention_bias", "f32 [K·K·C]"),
            ("turned", "T [M, K, K, C]"),
        ],
        &[("dx", "T [N, H, W, C]")],
    ],
);
