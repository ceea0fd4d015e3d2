//! What is to be computed: values, ops, and gradients as more ops.
//!
//! **Absent here**: buffers, offsets, WGSL, and any particular op.

mod again;
mod backward;
mod case;
mod fuse;
mod interpret;
mod nodes;
mod op;
mod print;
mod regroup;
mod shape;
mod signature;

pub use backward::Sum;
pub use case::{Case, Draw, Input, numbers};
pub use fuse::Fused;
pub use interpret::{Arrays, interpret, round};
pub(crate) use interpret::{computed, honest, run};
pub use nodes::{Graph, Node, Source, Value};
pub use op::{ByImage, Composition, Cost, Function, Gradients, Io, Maths, Op, Repetition, Stages};
pub use regroup::Regrouping;
pub use shape::{GraphError, Shape, Tensor};
pub use signature::{Named, Signature, SignatureError};
