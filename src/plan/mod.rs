//! When each kernel runs and in which memory: a graph made into steps over slots, homes and inputs, as plain data.
//!
//! **Absent here**: wgpu, numbers read from a GPU, any particular op. A plan can be made, printed and compared on a
//! machine that has no GPU.

mod alike;
mod error;
mod layout;
mod lifetimes;
mod memory;
mod order;
mod parts;
#[expect(clippy::module_inception, reason = "the room is named after what it makes")]
mod plan;
mod print;
mod slots;
mod steps;
mod workgroups;

pub use error::{PlanError, Remedy};
pub use layout::{Home, Layout, Stored};
pub use plan::{Buffer, Options, Place, Plan, PlannedNode, PlannedOutput, Step};
