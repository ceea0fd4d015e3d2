//! The local relation layer (Hu, Zhang, Xie and Lin 2019): what a 3x3 convolution's place is taken by in LR-Net's bottlenecks.

use serde::{Deserialize, Serialize};

use crate::graph::{GraphError, Tensor, Value};
use crate::models::layers::{pointwise, refusal, relu, reshape};
use crate::models::{Builder, Init};
use crate::ops::{Conv2d, LocalRelation, Similarity};

/// The options of local relation layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRelationLayer {
    /// Height and width of a window, odd.
    pub kernel: usize,
    /// Channels that share one aggregation: m.
    pub channels: usize,
    /// How alike two pixels are.
    pub similarity: Similarity,
    /// Channels inside of a bottleneck, in thousandths of those of its output: 250 in a ResNet.
    pub width: usize,
}

impl LocalRelationLayer {
    /// Channels inside of a bottleneck of so many outside: whole groups.
    #[must_use]
    pub fn inside(&self, channels: usize) -> usize {
        let group = self.channels.max(1);
        ((channels * self.width + 500 * group) / (1000 * group)).max(1) * group
    }
}

impl Default for LocalRelationLayer {
    /// The paper's windows of 7 x 7 and m = 8. Of its three similarities (product, distance, square) the square, which it uses unless it
    /// says otherwise, as far as we remember: its text was not at hand. With 120 channels where ResNet has 64, parameters and multiply-adds
    /// of all three published networks are within 4 % of ours.
    fn default() -> Self {
        Self { kernel: 7, channels: 8, similarity: Similarity::Square, width: 469 }
    }
}

/// x `[N, H, W, C]` → `[N, Ho, Wo, C]`, a pixel for every `stride` pixels of x: y = Σ softmax(similarity(q, k) + geometry) x over the
/// window around it, with one weight for each C / m = G groups of channels.
///
/// q and k are 1x1 convolutions of x, C → G. geometry is a small network of how far a tap is from the middle of its window,
/// (across, down) → G / 2 → G with ReLU between. It is computed in f32, whatever x is: there are no more of its numbers than taps. It has
/// one bias, before the ReLU: behind, a bias would be the same for all taps, which a softmax does not see. The 1x1 convolution that ends
/// the paper's layer is the one that follows in a bottleneck anyway.
///
/// # Errors
/// When x is no image, the channels do not divide into groups of m, or the window has no middle.
pub(super) fn local_relation(
    b: &mut Builder<'_>,
    name: &str,
    x: Value,
    options: &LocalRelationLayer,
    stride: usize,
) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(x).clone();
    let LocalRelationLayer { kernel, channels: each, similarity, .. } = *options;
    let Some([_, _, _, channels]) = tensor.shape.rank() else {
        return Err(refusal(name, format!("takes images [N, height, width, channels], not {}", tensor.shape)));
    };
    if each == 0 || channels == 0 || channels % each != 0 {
        return Err(refusal(name, format!("{channels} channels are no groups of {each}")));
    }
    let groups = channels / each;
    b.scoped(name, |b| {
        let q = pointwise(b, "query", x, [groups, stride])?;
        let k = pointwise(b, "key", x, [groups, 1])?;
        let geometry = geometry(b, kernel, groups)?;
        let op = LocalRelation { kernel: [kernel; 2], stride, similarity, scale: 1.0 };
        Ok(b.graph.apply(op, &[q, k, x, geometry])?[0])
    })
}

/// What each tap of a window scores for its place alone: f32 `[taps, groups]`.
fn geometry(b: &mut Builder<'_>, kernel: usize, groups: usize) -> Result<Value, GraphError> {
    let (taps, hidden) = (kernel * kernel, (groups / 2).max(1));
    b.scoped("geometry", |b| {
        let offsets =
            b.parameters.constant(b.graph, "offsets", Tensor::f32([1, taps, 2]), Init::Offsets { side: kernel })?;
        let he = Init::He { fan_out: hidden };
        let first = b.parameters.weight(b.graph, "first/weight", Tensor::f32([2, hidden]), he)?;
        let bias = b.parameters.bias(b.graph, "first/bias", hidden)?;
        let inner = b.graph.apply_one(Conv2d::new(1, 0), &[offsets, first, bias])?;
        let inner = relu(b, inner)?;
        let xavier = Init::Xavier { fan_in: hidden, fan_out: groups };
        let second = b.parameters.weight(b.graph, "second/weight", Tensor::f32([hidden, groups]), xavier)?;
        let of_taps = b.graph.apply_one(Conv2d::new(1, 0), &[inner, second])?;
        reshape(b, of_taps, [taps, groups])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Source, interpret};
    use crate::kernel::Elem;
    use crate::models::{Mode, Parameters};
    use crate::reference::Array;

    /// The layer on x of this shape: its graph and parameters, and what it gives.
    fn built(shape: [usize; 4], stride: usize) -> Result<(Graph, Parameters, Value), GraphError> {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let x = graph.input("x", Tensor::new(shape, Elem::F16));
        let b = &mut Builder::new(&mut graph, &mut parameters, Mode::Train);
        let options = LocalRelationLayer { kernel: 3, ..LocalRelationLayer::default() };
        let y = local_relation(b, "lr", x, &options, stride)?;
        Ok((graph, parameters, y))
    }

    #[test]
    fn the_layer_has_the_papers_parameters() {
        let (graph, parameters, y) = built([2, 5, 7, 32], 2).expect("fits");
        assert_eq!(*graph.tensor(y), Tensor::new([2, 3, 4, 32], Elem::F16));
        let learned: Vec<String> =
            parameters.learned().map(|known| format!("{} {}", known.name, known.tensor)).collect();
        assert_eq!(
            learned,
            [
                "lr/query/weight f16 [1, 1, 32, 4]",
                "lr/key/weight f16 [1, 1, 32, 4]",
                "lr/geometry/first/weight f32 [2, 2]",
                "lr/geometry/first/bias f32 [2]",
                "lr/geometry/second/weight f32 [2, 4]"
            ]
        );
        assert!(built([2, 5, 7, 12], 1).is_err_and(|error| error.to_string().contains("12 channels")));
    }

    /// With x the same everywhere, q and k are too: where taps lie alone tells them apart, and a weighted mean changes nothing.
    #[test]
    fn even_maps_stay_even_where_windows_are_inside() {
        let (graph, parameters, y) = built([1, 4, 5, 16], 1).expect("fits");
        let arrays = interpret(&graph, |value, source| {
            let tensor = graph.tensor(value);
            let Source::Stored { name, .. } = source else { return Ok(Array::zeros(&tensor.shape).map(|_: f64| 2.0)) };
            let known = parameters.iter().find(|known| known.name == *name).ok_or_else(|| name.clone())?;
            Ok::<_, String>(Array {
                shape: tensor.shape.to_vec(),
                data: known.initial(7).into_iter().map(f64::from).collect(),
            })
        })
        .expect("every parameter is known");
        let made = &arrays[y.index()];
        assert!(made.data.iter().all(|value| (value - 2.0).abs() < 1e-9), "{made:?}");
    }
}
