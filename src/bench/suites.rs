//! What is measured together: every op on real shapes, products of matrices, a network's convolutions, what only moves
//! bytes.

use std::collections::BTreeSet;

use super::BenchError;
use crate::graph::{Case, Input, Tensor};
use crate::kernel::Elem;
use crate::models::{Parameters, by_name};
use crate::ops::{self, Attend, Conv2d, MatMul};
use crate::train::step::evaluation_in;

/// A set of cases; each is measured forward and, where it has a gradient, backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Every op on the shapes of real models.
    Ops,
    /// Square products of matrices, and those of a transformer over tokens.
    Gemm,
    /// The distinct convolutions of ResNet-50 at 224x224, batch 64: forward, input gradient and weight gradient.
    Resnet50Layers,
    /// The ops that multiply nothing to speak of: norms, pooling, sums, losses, updates.
    MemoryBound,
    /// Tokenizer, token transformer and projector on the maps of the paper's networks.
    Vt,
    /// Tokenizer and projector on maps of 100 to 1,000,000 pixels: how time and memory grow.
    VtPixels,
}

/// Images of a batch in [`Suite::Resnet50Layers`].
const BATCH: usize = 64;
/// The same, and the size of an image, on a software adapter: counts are what is looked at there.
const LITTLE: [usize; 2] = [1, 32];
/// A small case has about this many numbers.
const SMALL: usize = 20_000;

impl Suite {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ops, Self::Gemm, Self::Resnet50Layers, Self::MemoryBound, Self::Vt, Self::VtPixels];

    /// Its name in commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ops => "ops",
            Self::Gemm => "gemm",
            Self::Resnet50Layers => "resnet50-layers",
            Self::MemoryBound => "memory-bound",
            Self::Vt => "vt",
            Self::VtPixels => "vt-pixels",
        }
    }

    /// Its cases; on a software adapter small ones: of [`Suite::Ops`] one an op unless `all` are wanted.
    ///
    /// # Errors
    /// When the network refuses its images.
    pub fn cases(self, software: bool, all: bool) -> Result<Vec<Case>, BenchError> {
        let few = software && !all;
        match self {
            Self::Ops => Ok(of_ops(software, few, |_| true)),
            Self::MemoryBound => Ok(of_ops(software, few, only_moves)),
            Self::Gemm => Ok(products(software)),
            Self::Resnet50Layers => convolutions(software),
            Self::Vt => Ok(visual_tokens(if software { LITTLE_MAPS } else { MAPS })),
            Self::VtPixels => {
                let mut cases = visual_tokens(&PIXELS[..if software { 2 } else { PIXELS.len() }]);
                // Tokens among themselves are the same whatever the pixels.
                cases.retain(|case| case.inputs[0].shape != case.inputs[1].shape);
                Ok(cases)
            }
        }
    }
}

/// The cases of ops, real ones or small ones; of small ones perhaps a `few`: the case of each op that is nearest to a
/// size that the CPU does in a moment.
fn of_ops(software: bool, few: bool, wanted: impl Fn(&Case) -> bool) -> Vec<Case> {
    let of_machine = |case: &Case| case.real.is_some() != software;
    let mut cases: Vec<Case> = ops::cases().into_iter().filter(|case| of_machine(case) && wanted(case)).collect();
    if few {
        let size = |case: &Case| case.inputs.iter().map(|input| input.shape.count()).sum::<usize>();
        cases.sort_by_key(|case| (case.op.name(), size(case) > SMALL, size(case).abs_diff(SMALL)));
        cases.dedup_by_key(|case| case.op.name());
    }
    cases
}

fn only_moves(case: &Case) -> bool {
    let tensor = |input: &Input| Tensor::new(input.shape.clone(), input.fixed.unwrap_or(Elem::F32));
    let inputs: Vec<Tensor> = case.inputs.iter().map(tensor).collect();
    case.op.outputs(&inputs).is_ok_and(|outputs| case.op.cost(&inputs, &outputs).multiply_adds == 0)
}

fn products(software: bool) -> Vec<Case> {
    let squares: &[usize] = if software { &[64, 256] } else { &[512, 1024, 2048, 4096] };
    let mut cases: Vec<Case> =
        squares.iter().map(|&n| Case::new(MatMul::new(), &[&[n, n], &[n, n]]).no_gradient()).collect();
    let (batch, width) = if software { (2, 64) } else { (256, 1024) };
    cases.push(Case::new(MatMul::new(), &[&[batch, 16, width], &[width, width]]));
    cases
}

/// Batch, pixels, channels and tokens of a map, and whose it is: COCO-stuff at 800x1216 and LIP at 473x473 by VT-FPN,
/// ImageNet at 224x224 by VT-ResNet.
const MAPS: &[([usize; 4], &str)] = &[
    ([8, 60_800, 256, 8], "COCO-stuff, level 2"),
    ([8, 15_200, 256, 8], "COCO-stuff, level 3"),
    ([8, 3_800, 256, 8], "COCO-stuff, level 4"),
    ([8, 950, 256, 8], "COCO-stuff, level 5"),
    ([4, 14_161, 256, 8], "LIP, level 2"),
    ([64, 196, 512, 16], "ImageNet, 512 channels"),
    ([64, 196, 1024, 16], "ImageNet, 1024 channels"),
    ([64, 196, 1024, 32], "ImageNet, 32 tokens"),
    ([64, 196, 1024, 64], "ImageNet, 64 tokens"),
    ([256, 196, 1024, 16], "ImageNet, batch 256"),
];
/// One map, of more and more pixels.
const PIXELS: &[([usize; 4], &str)] = &[
    ([1, 100, 256, 8], "100 pixels"),
    ([1, 1_000, 256, 8], "1,000 pixels"),
    ([1, 10_000, 256, 8], "10,000 pixels"),
    ([1, 100_000, 256, 8], "100,000 pixels"),
    ([1, 1_000_000, 256, 8], "1,000,000 pixels"),
];
const LITTLE_MAPS: &[([usize; 4], &str)] = &[([2, 300, 32, 8], "small"), ([2, 49, 64, 16], "small, 64 channels")];

/// Of each map: tokens drawn from its pixels, which are their own values; its pixels asking the tokens; and the tokens
/// among themselves.
fn visual_tokens(maps: &[([usize; 4], &'static str)]) -> Vec<Case> {
    let each = maps.iter().flat_map(|&([n, pixels, channels, tokens], map)| {
        let attend = Attend { heads: 1, scale: 1.0 / (channels as f64).sqrt() };
        let (pixels, tokens) = ([n, pixels, channels], [n, tokens, channels]);
        let pool = Case::new(attend, &[&tokens, &pixels]);
        let project = Case::new(attend, &[&pixels, &tokens, &tokens]);
        [pool.real(map), project.real(map), Case::new(attend, &[&tokens, &tokens, &tokens]).real(map)]
    });
    each.collect()
}

/// The convolutions that the network's own graph holds, each shape once.
fn convolutions(software: bool) -> Result<Vec<Case>, BenchError> {
    let [batch, size] = if software { LITTLE } else { [BATCH, 224] };
    let Some(model) = by_name("resnet50", 1000) else { return Ok(Vec::new()) };
    let graph = evaluation_in(Elem::F32, &*model, &mut Parameters::new(), [batch, size, size, 3])?;
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for node in graph.nodes() {
        let (Some(conv), [x, weight]) = (node.op.downcast::<Conv2d>(), &node.inputs[..]) else { continue };
        let shapes = [*x, *weight].map(|value| graph.tensor(value).shape.clone());
        if seen.insert(format!("{conv:?} {shapes:?}")) {
            cases.push(Case::new(*conv, &[&shapes[0], &shapes[1]]));
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resnet_50_has_so_many_convolutions_of_its_own() {
        // The stem; of each stage 1x1 in, first and others, 3x3 strided or not, 1x1 out, and the shortcut.
        let cases = Suite::Resnet50Layers.cases(false, true).expect("it fits");
        assert_eq!(cases.len(), 23);
        assert!(cases.iter().all(|case| case.inputs[0].shape[0] == 64));
    }

    #[test]
    fn what_moves_bytes_is_no_product() {
        for software in [false, true] {
            let names: BTreeSet<&str> =
                Suite::MemoryBound.cases(software, true).expect("cases").iter().map(|case| case.op.name()).collect();
            assert!(names.contains("batch_norm") && names.contains("max_pool") && names.contains("sgd"), "{names:?}");
            assert!(!names.contains("matmul") && !names.contains("conv2d"), "{names:?}");
        }
    }
}
