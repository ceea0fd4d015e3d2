//! What can go wrong on the machine, each with its remedy.

use crate::kernel::ComposeError;

/// Why the machine did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No adapter, or none of the name asked for.
    #[error(
        "no GPU adapter{wanted}; present: {present}. Software Vulkan serves too: on Debian and Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1`"
    )]
    NoAdapter {
        /// ` named …`, or nothing.
        wanted: String,
        /// The adapters that there are.
        present: String,
    },
    /// The device has less than WebGPU's defaults, to which the kernels keep.
    #[error(
        "the device on {adapter} offers {found} {what}, and {needed} are needed: choose another adapter, or open the device with larger limits (Device::wants has them)"
    )]
    TooSmall {
        /// The adapter's name.
        adapter: String,
        /// What there is too little of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much is needed.
        needed: u64,
    },
    /// The driver refused to open a device.
    #[error("adapter {adapter} gave no device: {reason}")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A kernel's text could not be put together.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A kernel did not compile.
    #[error("{kernel} [{variant}] does not compile: {reason}")]
    Pipeline {
        /// The kernel.
        kernel: &'static str,
        /// The build.
        variant: String,
        /// naga's or the driver's words.
        reason: String,
    },
    /// Memory did not suffice.
    #[error("out of GPU memory for {what} ({bytes} bytes); a smaller batch needs less")]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// How much it was.
        bytes: u64,
    },
    /// The device is gone; nothing computed on it since can be trusted.
    #[error("the GPU was lost while {during}: {reason}")]
    Lost {
        /// What was being done.
        during: String,
        /// The driver's words.
        reason: String,
    },
    /// wgpu refused a call: a fault of this crate, or of a host that handed over something else than it said.
    #[error("{during}: {reason}")]
    Invalid {
        /// What was being done.
        during: String,
        /// wgpu's words.
        reason: String,
    },
    /// The rehearsal device accepts work and does none.
    #[error("the rehearsal device computes nothing, so there is nothing to read")]
    Rehearsal,
}
