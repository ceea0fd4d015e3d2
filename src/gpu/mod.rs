//! The machine: devices, pipelines, memory, and running what was recorded. The one room that names wgpu.
//!
//! **Absent here**: decisions, and any particular op. It does what a recording or a plan says.

mod bare;
mod device;
mod error;
mod pipelines;
mod readback;

pub use bare::{Bare, Guard};
pub use device::{Checks, Device, OpenOptions, adapters};
pub use error::Error;
pub use pipelines::Pipelines;
