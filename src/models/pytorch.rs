//! What torchvision and timm call the parameters of a residual network, and how PyTorch lays them out.
//!
//! The two agree in every name of a ResNet (`timm/models/resnet.py`, `torchvision/models/resnet.py`):
//!
//! | here | there | shape here | shape there |
//! |---|---|---|---|
//! | `stem/conv/weight` | `conv1.weight` | `[KH, KW, I, O]` | `[O, I, KH, KW]` |
//! | `stem/norm/gain`, `…/running_variance` | `bn1.weight`, `bn1.running_var` | `[C]` | `[C]` |
//! | `stage2/block1/conv2/weight` | `layer1.0.conv2.weight` | `[KH, KW, I, O]` | `[O, I, KH, KW]` |
//! | `stage3/block1/shortcut/conv/weight` | `layer2.0.downsample.0.weight` | `[1, 1, I, O]` | `[O, I, 1, 1]` |
//! | `stage3/block1/shortcut/norm/bias` | `layer2.0.downsample.1.bias` | `[C]` | `[C]` |
//! | `head/weight` | `fc.weight` | `[1, 1, I, O]` | `[O, I]` |
//!
//! What they have no name for, the parts of a VT block, keeps ours, and the layout that it has here.

use super::Parameter;
use super::parameters::STATISTICS;

/// What PyTorch ends the name of a norm's counter of batches with. Nothing here counts them.
pub const COUNTER: &str = "num_batches_tracked";

/// How the axes of a tensor stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axes {
    /// As here.
    Same,
    /// `[O, I, KH, KW]`, here `[KH, KW, I, O]`.
    Convolution,
    /// `[O, I]`, here `[1, 1, I, O]`.
    Linear,
}

/// A parameter as PyTorch has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterpart {
    /// Its name there.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// The name of the counter that PyTorch keeps beside a norm's running mean.
    pub counter: Option<String>,
    axes: Axes,
}

impl Counterpart {
    /// That of a parameter of ours.
    #[must_use]
    pub fn of(parameter: &Parameter) -> Self {
        let shape = parameter.tensor.shape.to_vec();
        let Some(name) = translated(&parameter.name) else {
            return Self::ours(parameter.name.clone(), parameter);
        };
        let counted = if parameter.home == STATISTICS { name.strip_suffix("running_mean") } else { None };
        let counter = counted.map(|norm| format!("{norm}{COUNTER}"));
        let (shape, axes) = match shape[..] {
            [1, 1, i, o] if name == "fc.weight" => (vec![o, i], Axes::Linear),
            [kh, kw, i, o] => (vec![o, i, kh, kw], Axes::Convolution),
            _ => (shape, Axes::Same),
        };
        Self { name, shape, counter, axes }
    }

    /// One under this name whose numbers stand as they do here.
    #[must_use]
    pub fn ours(name: String, parameter: &Parameter) -> Self {
        Self { name, shape: parameter.tensor.shape.to_vec(), counter: None, axes: Axes::Same }
    }

    /// Numbers in their order there, as many as the shape has, in our order.
    #[must_use]
    pub fn to_ours(&self, theirs: &[f32]) -> Vec<f32> {
        self.places(theirs.len()).map(|place| theirs[place]).collect()
    }

    /// Numbers in our order, as many as the shape has, in their order there.
    #[must_use]
    pub fn to_theirs(&self, ours: &[f32]) -> Vec<f32> {
        let mut theirs = vec![0.0; ours.len()];
        for (&number, place) in ours.iter().zip(self.places(ours.len())) {
            theirs[place] = number;
        }
        theirs
    }

    /// For every number in our order its place there.
    fn places(&self, count: usize) -> impl Iterator<Item = usize> {
        // [O, I, K] there and [K, I, O] here, K the kernel's area; nothing moves where all is one axis.
        let [o, i] = match self.axes {
            Axes::Same => [1, count.max(1)],
            Axes::Convolution | Axes::Linear => [self.shape[0].max(1), self.shape[1].max(1)],
        };
        let area = count / (o * i);
        (0..count).map(move |at| {
            let (pixel, input, output) = (at / (i * o), at / o % i, at % o);
            (output * i + input) * area + pixel
        })
    }
}

/// The name there, if there is one.
fn translated(ours: &str) -> Option<String> {
    let parts: Vec<&str> = ours.split('/').collect();
    let (last, scope) = parts.split_last()?;
    let last = match *last {
        "gain" => "weight",
        "running_variance" => "running_var",
        last => last,
    };
    let scope = match scope {
        ["stem", layer] => theirs(layer, "1")?,
        ["head"] => "fc".to_owned(),
        [stage, block, layer @ ..] => {
            // Stages are counted from 2 here, as the stem is stage 1; blocks from 1 here, from 0 there.
            let number = |part: &str, word: &str| part.strip_prefix(word)?.parse::<usize>().ok()?.checked_sub(1);
            let (stage, block) = (number(stage, "stage")?, number(block, "block")?);
            let layer = match layer {
                ["shortcut", "conv"] => "downsample.0".to_owned(),
                ["shortcut", "norm"] => "downsample.1".to_owned(),
                [layer] => theirs(layer, "")?,
                _ => return None,
            };
            format!("layer{stage}.{block}.{layer}")
        }
        _ => return None,
    };
    Some(format!("{scope}.{last}"))
}

/// `conv` and `norm` with a number behind, theirs if they have one.
fn theirs(layer: &str, number: &str) -> Option<String> {
    let kind = |word: &str, there: &str| Some(format!("{there}{}{number}", layer.strip_prefix(word)?));
    kind("conv", "conv").or_else(|| kind("norm", "bn"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Tensor;
    use crate::models::Init;
    use crate::models::parameters::PARAMETERS;

    fn parameter(name: &str, home: &'static str, shape: [usize; 4]) -> Parameter {
        let (tensor, init) = (Tensor::f32(shape), Init::Zeros);
        Parameter { name: name.to_owned(), home, tensor, init, decays: false, normalizes: false }
    }

    #[test]
    fn names_are_those_of_the_table() {
        for (ours, theirs) in [
            ("stem/conv/weight", Some("conv1.weight")),
            ("stem/norm/running_variance", Some("bn1.running_var")),
            ("stage2/block1/conv2/weight", Some("layer1.0.conv2.weight")),
            ("stage5/block12/norm3/gain", Some("layer4.11.bn3.weight")),
            ("stage3/block1/shortcut/conv/weight", Some("layer2.0.downsample.0.weight")),
            ("stage3/block1/shortcut/norm/bias", Some("layer2.0.downsample.1.bias")),
            ("head/bias", Some("fc.bias")),
            ("stage5/vt1/tokenizer/filter", None),
            ("stage5/vt1/norm1/gain", None),
            ("stage0/block1/conv1/weight", None),
            ("weight", None),
        ] {
            assert_eq!(translated(ours).as_deref(), theirs, "{ours}");
        }
    }

    #[test]
    fn axes_are_moved_and_moved_back() {
        let conv = Counterpart::of(&parameter("stem/conv/weight", PARAMETERS, [2, 1, 3, 4]));
        assert_eq!((&conv.shape[..], conv.counter.as_ref()), (&[4, 3, 2, 1][..], None));
        let theirs: Vec<f32> = (0..24).map(|at| at as f32).collect();
        let ours = conv.to_ours(&theirs);
        // [kh, kw, i, o] = [1, 0, 2, 3], and [3, 2, 1, 0] there.
        assert_eq!(ours[(3 + 2) * 4 + 3], theirs[(3 * 3 + 2) * 2 + 1]);
        assert_eq!(conv.to_theirs(&ours), theirs);
        let linear = Counterpart::of(&parameter("head/weight", PARAMETERS, [1, 1, 2, 3]));
        assert_eq!(linear.shape, [3, 2]);
        assert_eq!(linear.to_ours(&[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]), [0.0, 10.0, 20.0, 1.0, 11.0, 21.0]);
    }

    #[test]
    fn what_has_no_name_there_stays() {
        let own = Counterpart::of(&parameter("stage5/vt1/key/weight", PARAMETERS, [1, 1, 2, 3]));
        assert_eq!((&own.name[..], &own.shape[..]), ("stage5/vt1/key/weight", &[1, 1, 2, 3][..]));
        assert_eq!(own.to_ours(&[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
    }
}
