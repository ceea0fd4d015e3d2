//! What a kernel is: WGSL as values. Pieces, variants, twins, and calls written down but not run.
//!
//! **Absent here**: devices, shapes of tensors, ops. Everything in this room is data that can be printed and compared.

mod capabilities;
mod compose;
#[macro_use]
mod declare;
mod elem;
mod expression;
mod inline;
mod pieces;
pub(crate) mod recording;
mod reflect;
pub mod tuning;
mod unroll;
mod variant;

pub use capabilities::{Capabilities, Fragment};
pub use compose::{ComposeError, Text, compose, gather, permutations};
pub use declare::{Access, Interface, Kernel, Param, Piece, View};
pub use elem::Elem;
pub use recording::{Dispatch, Grid, Recording, word};
pub use reflect::{Reflection, disagreements};
pub use variant::Variant;
