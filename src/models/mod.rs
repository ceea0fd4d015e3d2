//! What people build: ops arranged into networks, with named parameters.
//!
//! **Absent here**: kernels, plans, devices, and numbers other than those that parameters start with.

mod builder;
pub mod fpn;
pub mod layers;
mod network;
pub mod parameters;
mod published;
pub mod pytorch;
pub mod related;
pub mod resnet;
pub mod vt;
pub mod vt_resnet;

pub use builder::{Builder, DROPOUT, IGNORED, Mode, Model, Regularization, SURVIVAL, Target};
pub use fpn::Fpn;
pub use network::{Network, NetworkError, by_name};
pub use parameters::{Init, Parameter, Parameters};
pub use published::{Figures, Published, Table, published};
pub use related::Variant;
pub use resnet::{Depth, ResNet};
pub use vt_resnet::{Features, Preset, Probe, Probed, Projecting, VtResNet};
