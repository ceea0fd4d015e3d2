//! The machine: devices, pipelines, memory, and running what was recorded. The one room that names wgpu.
//!
//! **Absent here**: decisions, and any particular op. It does what a recording or a plan says.

mod bare;
mod bind;
mod device;
mod error;
mod executor;
mod inspect;
mod memory;
mod numbers;
mod operands;
mod pipelines;
mod readback;
mod staging;
mod timer;

pub use bare::{Bare, Guard};
pub use bind::HostBuffer;
pub use device::{Checks, Device, OpenOptions, adapters};
pub use error::Error;
pub use executor::{Executor, Reading};
pub use inspect::BadValue;
pub use memory::{Homes, Snapshot};
pub use operands::{Allowed, Operands, Proof, Seen};
pub use pipelines::Pipelines;
pub use timer::{KernelTime, StepTime};
