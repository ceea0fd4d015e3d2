//! Attention-augmented convolution (Bello et al. 2019): some of a convolution's channels come from attention of all pixels to all.

use serde::{Deserialize, Serialize};

use crate::graph::{GraphError, Value};
use crate::models::layers::{conv, pointwise, refusal};
use crate::models::{Builder, Init};
use crate::ops::{Concat, RelativeAttention};

/// How much of a convolution is attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmented {
    /// Heads.
    pub heads: usize,
    /// 100 κ: channels of queries, and of keys, in hundredths of the convolution's.
    pub key_percent: usize,
    /// 100 υ: channels of values, which are those that attention makes, in hundredths of the convolution's.
    pub value_percent: usize,
    /// Channels of keys that a head has at least, however small its share.
    pub least_keys: usize,
}

impl Default for Augmented {
    /// The paper's for ImageNet: κ = 2 υ = 0.2, 8 heads of at least 20 channels of keys.
    fn default() -> Self {
        Self { heads: 8, key_percent: 20, value_percent: 10, least_keys: 20 }
    }
}

impl Augmented {
    /// Channels of keys and of values, all heads together, of a convolution of so many: whole heads. Rounded down, which has
    /// the parameters that are published for ResNet-101.
    #[must_use]
    pub fn channels(&self, channels: usize) -> [usize; 2] {
        let of_head = |percent: usize, least: usize| (channels * percent / (100 * self.heads.max(1))).max(least);
        let each = [of_head(self.key_percent, self.least_keys), of_head(self.value_percent, 1)];
        each.map(|each| each * self.heads)
    }
}

/// x `[N, H, W, C]` → `[N, H', W', channels]`: a convolution of `kernel` and `stride`, padded so that stride 1 keeps the size, whose last channels
/// are attention of every pixel of the result to all.
///
/// Queries, keys and values are one 1x1 convolution, of the same stride; another one mixes what the heads give. (The paper says only that maps
/// were made smaller for attention where memory was short; a stride makes them as small as the convolution does.) No biases.
///
/// # Errors
/// When x is no image, or attention leaves the convolution no channels.
pub(super) fn augmented_conv(
    b: &mut Builder<'_>,
    name: &str,
    x: Value,
    [kernel, channels, stride]: [usize; 3],
    options: &Augmented,
) -> Result<Value, GraphError> {
    let [keys, values] = options.channels(channels);
    if options.heads == 0 || options.least_keys == 0 {
        return Err(refusal(name, "needs at least one head, and a channel of keys for each"));
    }
    if values >= channels {
        let problem =
            format!("attention of {} heads takes {values} of {channels} channels: nothing is left", options.heads);
        return Err(refusal(name, problem));
    }
    b.scoped(name, |b| {
        let convolved = conv(b, "conv", x, [kernel, channels - values, stride])?;
        let qkv = pointwise(b, "qkv", x, [2 * keys + values, stride])?;
        let attended = b.scoped("attention", |b| attend(b, qkv, [options.heads, keys]))?;
        let attended = pointwise(b, "out", attended, [values, 1])?;
        b.graph.apply_one(Concat { axis: 3 }, &[convolved, attended])
    })
}

/// qkv `[N, H, W, 2 keys + values]` → `[N, H, W, values]`, with tables of its own.
fn attend(b: &mut Builder<'_>, qkv: Value, [heads, keys]: [usize; 2]) -> Result<Value, GraphError> {
    let tensor = b.graph.tensor(qkv).clone();
    let [_, height, width, _] = tensor.shape.dims();
    let depth = keys / heads;
    let scale = (depth as f64).sqrt().recip();
    let mut table = |name: &str, side: usize| {
        b.parameters.weight(b.graph, name, tensor.shaped([2 * side - 1, depth]), Init::Normal(scale))
    };
    let inputs = [qkv, table("rel_height", height)?, table("rel_width", width)?];
    Ok(b.graph.apply(RelativeAttention { heads, key_channels: keys, scale }, &inputs)?[0])
}

#[cfg(test)]
mod tests {
    use super::{Augmented, augmented_conv};
    use crate::graph::{Graph, Tensor};
    use crate::models::{Builder, Mode, Parameters};

    #[test]
    fn shares_are_those_of_a_resnet50() {
        let channels = [128, 256, 512, 1024].map(|channels| Augmented::default().channels(channels));
        assert_eq!(channels, [[160, 8], [160, 24], [160, 48], [200, 96]]);
        assert_eq!(Augmented { heads: 4, ..Augmented::default() }.channels(48), [80, 4]);
    }

    #[test]
    fn shapes_and_parameters() {
        for (size, stride, made) in [([14, 9], 1, [14, 9]), ([13, 8], 2, [7, 4])] {
            let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
            let x = graph.input("x", Tensor::f32([2, size[0], size[1], 24]));
            let mut b = Builder::new(&mut graph, &mut parameters, Mode::Train);
            let options = Augmented { heads: 4, ..Augmented::default() };
            let y = augmented_conv(&mut b, "conv2", x, [3, 48, stride], &options).unwrap();
            assert_eq!(b.shape(y), [2, made[0], made[1], 48]);
            // 44 of the 48 channels are the convolution's, 4 the values'; 80 are keys, 20 a head.
            let count: usize = parameters.iter().map(|parameter| parameter.tensor.shape.count()).sum();
            let tables = (2 * made[0] - 1 + 2 * made[1] - 1) * 20;
            assert_eq!(count, 9 * 24 * 44 + 24 * 164 + 4 * 4 + tables);
        }
    }

    #[test]
    fn what_leaves_the_convolution_nothing_is_refused() {
        let (mut graph, mut parameters) = (Graph::new(), Parameters::new());
        let x = graph.input("x", Tensor::f32([1, 4, 4, 8]));
        let mut b = Builder::new(&mut graph, &mut parameters, Mode::Train);
        let refused = augmented_conv(&mut b, "conv2", x, [3, 8, 1], &Augmented::default()).unwrap_err().to_string();
        assert!(refused.contains("takes 8 of 8 channels"), "{refused}");
    }
}
