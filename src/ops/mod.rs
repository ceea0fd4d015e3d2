//! The ops, one a file: shapes, maths, kernels, gradient, cases.
//!
//! **Absent here**: devices, buffers, other ops' kernels.

mod add;
mod attend;
mod attend_backward;
mod attend_tiles;
mod batch_norm;
mod batch_norm_fixed;
mod conv2d;
mod conv2d_backward;
mod cross_entropy;
mod fill;
mod map;
mod matmul;
mod max_pool;
mod mean_rows;
mod permute;
mod repeat;
mod reshape;
mod sgd;
mod softmax;
mod sum_rows;

pub use add::Add;
pub use attend::Attend;
pub use attend_backward::AttendBackward;
pub use batch_norm::{BatchNormBackward, BatchNormTrain};
pub use batch_norm_fixed::{BatchNormFixed, BatchNormFixedBackward};
pub use conv2d::Conv2d;
pub use conv2d_backward::{Conv2dBackwardWeight, Conv2dBackwardX};
pub use cross_entropy::{CrossEntropy, CrossEntropyBackward};
pub use fill::Fill;
pub use map::{Map, MapBackward};
pub use matmul::MatMul;
pub use max_pool::{MaxPool, MaxPoolBackward};
pub use mean_rows::{MeanRows, MeanRowsBackward};
pub use permute::Permute;
pub use repeat::{Repeat, RepeatBackward};
pub use reshape::Reshape;
pub use sgd::Sgd;
pub use softmax::{Softmax, SoftmaxBackward};
pub use sum_rows::SumRows;

use crate::graph::{Case, Graph, GraphError, Value};

/// Every op's cases: kernel tests, gradient tests and benches are made from these.
#[must_use]
pub fn cases() -> Vec<Case> {
    let each: &[fn() -> Vec<Case>] = &[
        add::cases,
        attend::cases,
        batch_norm::cases,
        batch_norm_fixed::cases,
        conv2d::cases,
        cross_entropy::cases,
        fill::cases,
        map::cases,
        matmul::cases,
        max_pool::cases,
        mean_rows::cases,
        permute::cases,
        repeat::cases,
        reshape::cases,
        sgd::cases,
        softmax::cases,
        sum_rows::cases,
    ];
    each.iter().flat_map(|cases| cases()).collect()
}

/// Adds what computes the gradients of `wrt`, given those of some values (`seeds`: value, gradient).
///
/// # Errors
/// When an op on the way has no gradient.
pub fn gradients(graph: &mut Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>, GraphError> {
    graph.backward(seeds, wrt, &|graph, a, b| graph.apply_one(Add, &[a, b]))
}

/// Element counts that tiles, folded grids and tails stumble over.
const AWKWARD: &[usize] = &[1, 2, 3, 31, 33, 127, 257];
