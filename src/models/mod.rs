//! What people build: ops arranged into networks, with named parameters.
//!
//! **Absent here**: kernels, plans, devices, and numbers other than those that parameters start with.

mod builder;
pub mod layers;
pub mod parameters;
pub mod resnet;
pub mod vt;
pub mod vt_resnet;

pub use builder::{Builder, Mode, Model, by_name};
pub use parameters::{Init, Parameter, Parameters};
pub use resnet::ResNet;
pub use vt_resnet::{Probe, Probed, VtResNet};
