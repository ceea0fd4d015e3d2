//! What is to be computed: values, ops, and gradients as more ops.
//!
//! **Absent here**: buffers, offsets, WGSL, and any particular op.

mod backward;
mod case;
mod graph;
mod interpret;
mod op;
mod print;
mod shape;

pub use backward::Sum;
pub use case::{Case, Draw, Input, numbers};
pub use graph::{Graph, Node, Source, Value};
pub(crate) use interpret::run;
pub use interpret::{Arrays, interpret, round};
pub use op::{Cost, Function, Gradients, Io, Maths, Op};
pub use shape::{GraphError, Shape, Tensor};
