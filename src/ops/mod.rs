//! The ops, one a file: shapes, maths, kernels, gradient, cases.
//!
//! **Absent here**: devices, buffers, other ops' kernels.
//!
//! # Add a kernel in five steps
//!
//! One file `src/ops/<op>.rs`, one folder `shaders/<op>/`, and in this file its name and one line of `ENTRIES`. What
//! follows is such a file, whole, for y = factor · x; only its WGSL stands in the text, where ours stands in a file.
//!
//! ```
//! use vistok::graph::{Case, Gradients, Graph, Io, Maths, Node, Op, Tensor, Value};
//! use vistok::kernel::{Elem, Grid, Recording, Variant, tuning, word};
//! use vistok::reference::{Array, Real};
//!
//! // 1. Say what it is: its numbers, and what it makes of which inputs. Refuse the others in a sentence.
//!
//! /// x → y = factor x, of x's shape and type.
//! #[derive(Clone, Debug)]
//! pub struct Scale {
//!     pub factor: f64,
//! }
//!
//! impl Op for Scale {
//!     fn name(&self) -> &'static str {
//!         "scale"
//!     }
//!
//!     fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
//!         match inputs {
//!             [x] if x.elem != Elem::U32 => Ok(vec![x.clone()]),
//!             _ => Err("takes one input, f32 or f16".to_owned()),
//!         }
//!     }
//!
//!     // 3. The gradient: more ops in the same graph. This one is its own; where another kernel is needed, it is a
//!     //    second op in the same file, tested just as this one.
//!     fn backward(&self, _: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
//!         let Some(dy) = grads[0] else { return Ok(vec![None]) };
//!         Ok(vec![Some(graph.apply_one(self.clone(), &[dy])?)])
//!     }
//!
//!     // 4b. Which calls compute it.
//!     fn record(&self, io: &Io<'_>, out: &mut Recording) {
//!         let (count, lanes) = (io.inputs[0].shape.count(), tuning::lanes(io.machine));
//!         out.dispatch(
//!             &Forward { count: word(count), factor: self.factor as f32, x: io.input(0), y: io.output(0) },
//!             Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
//!             Grid::over(count, lanes as usize),
//!         );
//!     }
//! }
//!
//! // 2. The maths, the plainest that is right: in f64 it is the truth, in f32 the yardstick for the kernel's error.
//! impl Maths for Scale {
//!     fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
//!         vec![inputs[0].map(|x| T::of(self.factor) * x)]
//!     }
//! }
//!
//! // 4a. The kernel and its twin. In this crate the text is `shaders/scale/forward.wgsl`, and `text …` is left out.
//! vistok::kernel! {
//!     /// One lane an element.
//!     struct Forward = "scale/forward" text r"// y = factor x. One lane an element.
//! // needs elem_f32 | elem_f16
//! // needs index
//! // constants WORKGROUP=256
//!
//! struct Params { count: u32, factor: f32 }
//! @group(0) @binding(0) var<uniform> params: Params;
//! @group(0) @binding(1) var<storage, read> x: array<elem>;
//! @group(0) @binding(2) var<storage, read_write> y: array<elem>;
//!
//! @compute @workgroup_size(WORKGROUP)
//! fn main(
//!     @builtin(workgroup_id) group: vec3<u32>,
//!     @builtin(num_workgroups) groups: vec3<u32>,
//!     @builtin(local_invocation_index) lane: u32,
//! ) {
//!     let at = folded(group, groups) * WORKGROUP + lane;
//!     if at < params.count {
//!         y[at] = elem(params.factor * f32(x[at]));
//!     }
//! }
//! " {
//!         params { count: u32, factor: f32 }
//!         read { x }
//!         write { y }
//!     }
//! }
//!
//! // 5. What to try: sizes that tails stumble over, and those of real models (`.real("resnet50 …")`) for the benches.
//! fn cases() -> Vec<Case> {
//!     [1, 3, 257].iter().map(|&n| Case::new(Scale { factor: 0.7 }, &[&[n, 5]])).collect()
//! }
//!
//! // From these cases come all proofs. In this crate `cargo test` runs them; anywhere else these lines do.
//! for case in cases() {
//!     vistok::verify::check_gradient(&case, 7)?; // the rule against the derivative of the maths, in f64
//!     vistok::verify::check_interfaces(&case)?; // every build of every kernel against its twin, by naga
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a GPU, [`verify::compare`](crate::verify::compare) then runs each kernel of a case, forward and backward,
//! between guards and against the maths. The tests of this repository that do so are `cargo test --test gradients`,
//! `--test interfaces` (both on any laptop) and `--test kernels`.
//!
//! In this crate a file's cases stand in its `ENTRY`, beside the op's [`Signature`]: its name, attributes and tensors in
//! words, for those who write it down in another language. The op derives serde's two traits, so that its fields are
//! the attributes, and a test holds the words against every case. `tests/oracle` compares all ops with PyTorch so.
//!
//! An op of your own need not be in this crate: `examples/own_op.rs` is one with a backward kernel and a piece of
//! WGSL that its kernels share. Made of other ops? Then it needs no file here: a function that applies them will do.

mod accumulate;
mod adamw;
mod add;
mod argmax;
mod attend;
mod attend_backward;
mod attend_cases;
mod attend_fragments;
mod attend_maps;
mod attend_parts;
mod attend_rows;
mod attend_shortcut;
mod attend_tiles;
mod average;
mod batch_norm;
mod batch_norm_again;
mod batch_norm_backward;
mod batch_norm_fixed;
mod clip_norm;
mod cluster_mean;
mod concat;
mod confusion_matrix;
mod conv2d;
mod conv2d_backward;
mod conv2d_product;
mod conv_batch_norm;
mod conv_norm;
mod cross_entropy;
mod cross_entropy_mean;
mod cross_entropy_smoothing;
mod cross_entropy_with_gradient;
mod distillation;
mod dropout;
mod fill;
mod gate;
mod group_norm;
mod l2_normalize;
mod layer_norm;
mod local_relation;
mod local_relation_backward;
mod local_relation_cases;
mod loss_scale;
mod map;
mod matmul;
mod max_mean;
mod max_pool;
mod mean_iou;
mod mean_rows;
mod nearest_centroid;
mod pad;
mod permute;
mod relative_attention;
mod relative_attention_backward;
mod relative_attention_cases;
mod relative_attention_tiles;
mod repeat;
mod reshape;
mod resize;
mod rms_prop;
mod sgd;
mod slice;
mod softmax;
mod spatially_adaptive_conv;
mod spatially_adaptive_conv_backward;
mod spatially_adaptive_conv_cases;
mod spatially_adaptive_conv_sizes;
mod spatially_adaptive_conv_weights;
mod stochastic_depth;
mod sum_rows;
mod update;

pub use accumulate::{Accumulate, Accumulated};
pub use adamw::{AdamW, AdamWCorrection, AdamWMixed};
pub use add::Add;
pub use argmax::Argmax;
pub use attend::Attend;
pub use attend_backward::AttendBackward;
pub use attend_shortcut::AttendShortcut;
pub use average::Average;
pub use batch_norm::BatchNormTrain;
pub use batch_norm_again::BatchNormAgain;
pub use batch_norm_backward::{BatchNormBackward, BatchNormReluBackward};
pub use batch_norm_fixed::{BatchNormFixed, BatchNormFixedBackward};
pub use clip_norm::ClipNorm;
pub use cluster_mean::{ClusterMean, ClusterMeanBackward};
pub use concat::Concat;
pub use confusion_matrix::ConfusionMatrix;
pub use conv_batch_norm::ConvBatchNorm;
pub use conv_norm::ConvNorm;
pub use conv2d::Conv2d;
pub use conv2d_backward::{Conv2dBackwardWeight, Conv2dBackwardX};
pub use cross_entropy::{CrossEntropy, CrossEntropyBackward};
pub use cross_entropy_with_gradient::CrossEntropyWithGradient;
pub use distillation::Distillation;
pub use dropout::Dropout;
pub use fill::Fill;
pub use gate::{Gate, GateBackward};
pub use group_norm::{GroupNorm, GroupNormBackward};
pub use l2_normalize::{L2Normalize, L2NormalizeBackward};
pub use layer_norm::{LayerNorm, LayerNormBackward};
pub use local_relation::{LocalRelation, Similarity};
pub use local_relation_backward::LocalRelationBackward;
pub use loss_scale::LossScale;
pub use map::{Map, MapBackward};
pub use matmul::MatMul;
pub use max_mean::{MaxMean, MaxMeanBackward, Over};
pub use max_pool::{MaxPool, MaxPoolBackward};
pub use mean_iou::MeanIou;
pub use mean_rows::{MeanRows, MeanRowsBackward};
pub use nearest_centroid::{NearestCentroid, k_means};
pub use pad::Pad;
pub use permute::Permute;
pub use relative_attention::RelativeAttention;
pub use relative_attention_backward::RelativeAttentionBackward;
pub use repeat::{Repeat, RepeatBackward};
pub use reshape::Reshape;
pub use resize::{Resize, ResizeBackward, ResizeMode};
pub use rms_prop::{RmsProp, RmsPropMixed};
pub use sgd::{Sgd, SgdMixed};
pub use slice::{Slice, split};
pub use softmax::{Softmax, SoftmaxBackward};
pub use spatially_adaptive_conv::SpatiallyAdaptiveConv;
pub use spatially_adaptive_conv_backward::SpatiallyAdaptiveConvBackwardX;
pub use spatially_adaptive_conv_weights::SpatiallyAdaptiveConvBackwardWeights;
pub use stochastic_depth::{StochasticDepth, StochasticDepthBackward};
pub use sum_rows::SumRows;

use crate::graph::{ByImage, Case, Graph, GraphError, Op, Signature, SignatureError, Value};

/// What an op's file says of it beside the op itself.
struct Entry {
    /// How the ops of the file are written down, in a case file for instance.
    signatures: &'static [Signature],
    /// What they are tried on.
    cases: fn() -> Vec<Case>,
}

/// Every op: whatever lists them all is made from this.
const ENTRIES: &[Entry] = &[
    accumulate::ENTRY,
    adamw::ENTRY,
    add::ENTRY,
    argmax::ENTRY,
    attend::ENTRY,
    attend_shortcut::ENTRY,
    average::ENTRY,
    batch_norm::ENTRY,
    batch_norm_again::ENTRY,
    batch_norm_fixed::ENTRY,
    clip_norm::ENTRY,
    cluster_mean::ENTRY,
    concat::ENTRY,
    confusion_matrix::ENTRY,
    conv2d::ENTRY,
    conv_batch_norm::ENTRY,
    conv_norm::ENTRY,
    cross_entropy::ENTRY,
    cross_entropy_with_gradient::ENTRY,
    distillation::ENTRY,
    dropout::ENTRY,
    fill::ENTRY,
    gate::ENTRY,
    group_norm::ENTRY,
    l2_normalize::ENTRY,
    layer_norm::ENTRY,
    local_relation::ENTRY,
    loss_scale::ENTRY,
    map::ENTRY,
    matmul::ENTRY,
    max_mean::ENTRY,
    max_pool::ENTRY,
    mean_iou::ENTRY,
    mean_rows::ENTRY,
    nearest_centroid::ENTRY,
    pad::ENTRY,
    permute::ENTRY,
    relative_attention::ENTRY,
    repeat::ENTRY,
    reshape::ENTRY,
    resize::ENTRY,
    rms_prop::ENTRY,
    sgd::ENTRY,
    slice::ENTRY,
    softmax::ENTRY,
    spatially_adaptive_conv::ENTRY,
    stochastic_depth::ENTRY,
    sum_rows::ENTRY,
];

/// Every op's cases: kernel tests, gradient tests and benches are made from these.
#[must_use]
pub fn cases() -> Vec<Case> {
    ENTRIES.iter().flat_map(|entry| (entry.cases)()).collect()
}

/// Every op's signature: how it is written down, and how what is written becomes the op.
pub fn signatures() -> impl Iterator<Item = &'static Signature> {
    ENTRIES.iter().flat_map(|entry| entry.signatures)
}

/// The signature of the op of this name.
///
/// # Errors
/// When no op has it; the error lists the names.
pub fn signature(name: &str) -> Result<&'static Signature, SignatureError> {
    signatures().find(|signature| signature.name == name).ok_or_else(|| SignatureError::Name {
        name: name.to_owned(),
        known: signatures().map(|signature| signature.name).collect::<Vec<_>>().join(", "),
    })
}

/// Adds what computes the gradients of `wrt`, given those of some values (`seeds`: value, gradient).
///
/// # Errors
/// When an op on the way has no gradient.
pub fn gradients(graph: &mut Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>, GraphError> {
    gradients_again(graph, seeds, wrt, &[])
}

/// [`gradients`] that do not keep what these parts of the graph made, sets of nodes by their numbers, but make it again:
/// [`Graph::backward`] says how. The same to the bit.
///
/// # Errors
/// As [`gradients`].
pub fn gradients_again(
    graph: &mut Graph,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    parts: &[Vec<usize>],
) -> Result<Vec<Option<Value>>, GraphError> {
    graph.backward(seeds, wrt, parts, &|graph, a, b| graph.apply_one(Add, &[a, b]))
}

/// What [`Op::by_image`] answers where these inputs run along the batch and no field of the op says how long that is.
fn by_image<O: Op + Clone>(op: &O, inputs: &[usize]) -> Option<ByImage> {
    Some(ByImage { op: Box::new(op.clone()), inputs: inputs.to_vec() })
}

/// What an op that ends in `+ shortcut` and ReLU, each if wanted, becomes with `next` behind it: whether it ends in ReLU
/// then. `None` where it cannot take `next` in. A sum does not care which of its two terms the op is.
fn with_tail(relu: bool, shortcut: bool, next: &dyn Op) -> Option<bool> {
    let adds = next.downcast::<Add>().is_some();
    match (relu, shortcut, next.downcast::<Map>()) {
        (false, _, Some(Map::Relu)) => Some(true),
        (false, false, None) if adds => Some(false),
        _ => None,
    }
}

/// Element counts that tiles, folded grids and tails stumble over.
const AWKWARD: &[usize] = &[1, 2, 3, 31, 33, 127, 257];
