//! Why a graph cannot be planned, in sentences that name the op, the shapes and the remedy.

use std::fmt;

use crate::graph::Tensor;

/// Why a graph cannot be planned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A value needs more bytes than one binding may have, and what uses it cannot take a few images at a time; or more than a
    /// buffer may have.
    #[error("{what} is {tensor}, {bytes} bytes, and a {unit} of this machine holds {limit}: {remedy}")]
    TooLarge {
        /// The op and scope that make the value, or the input or stored tensor's name.
        what: String,
        /// The value's type.
        tensor: Tensor,
        /// The bytes that it needs.
        bytes: usize,
        /// `binding` or `buffer`.
        unit: &'static str,
        /// The most bytes of one.
        limit: usize,
        /// The batch size that fits, or that none does.
        remedy: Remedy,
    },
    /// A value holds f16, and the machine computes with none.
    #[error(
        "{what} is {tensor}, and this machine has no f16: build the graph in f32, or open the device with SHADER_F16"
    )]
    NoF16 {
        /// The op and scope that make the value, or the input or stored tensor's name.
        what: String,
        /// The value's type.
        tensor: Tensor,
    },
    /// An op's scratch memory needs more bytes than one binding may have.
    #[error("{what}: its scratch memory is {bytes} bytes, and a binding of this machine holds {limit}: {remedy}")]
    ScratchTooLarge {
        /// The op and scope.
        what: String,
        /// The bytes that it needs.
        bytes: usize,
        /// The most bytes of a binding.
        limit: usize,
        /// The batch size that fits, or that none does.
        remedy: Remedy,
    },
    /// A dispatch has no workgroups, or more in one dimension than WebGPU allows.
    #[error("{what}: {kernel} asks for {grid:?} workgroups, and each dimension may have 1 to 65535; fold the grid")]
    Grid {
        /// The op and scope.
        what: String,
        /// The kernel.
        kernel: &'static str,
        /// The workgroups asked for.
        grid: [u32; 3],
    },
    /// A kernel has more storage bindings than WebGPU promises.
    #[error("{what}: {kernel} has {count} storage bindings, and WebGPU promises 8; split the kernel")]
    Bindings {
        /// The op and scope.
        what: String,
        /// The kernel.
        kernel: &'static str,
        /// How many it has.
        count: usize,
    },
    /// A dispatch would read and write one buffer, which wgpu refuses even where the ranges are apart.
    #[error("{what}: {kernel} would read and write {buffer} in one dispatch; keep the tensors in different homes")]
    Conflict {
        /// The op and scope.
        what: String,
        /// The kernel.
        kernel: &'static str,
        /// The buffer.
        buffer: String,
    },
    /// A kernel needs more of a workgroup than the machine has.
    #[error(
        "{what}: {kernel} [{variant}] has {found} {unit}, and the machine offers {limit}; tuning.rs chose too large a tile"
    )]
    Workgroup {
        /// The op and scope.
        what: String,
        /// The kernel.
        kernel: &'static str,
        /// The build.
        variant: String,
        /// `lanes a workgroup` or `bytes of workgroup memory`.
        unit: &'static str,
        /// How much it has.
        found: usize,
        /// How much the machine offers.
        limit: usize,
    },
    /// A kernel's text cannot be read.
    #[error("{what}: {kernel} [{variant}]: {reason}")]
    Text {
        /// The op and scope.
        what: String,
        /// The kernel.
        kernel: &'static str,
        /// The build.
        variant: String,
        /// naga's words, or those of the composer.
        reason: String,
    },
    /// An update that breaks a rule of updates.
    #[error("{what}: {problem}")]
    Update {
        /// The op and scope.
        what: String,
        /// The rule, and how it is broken.
        problem: String,
    },
    /// An op's recording or shapes contradict themselves: a fault of the op.
    #[error("{what}: {problem}; this is a fault of the op")]
    Fault {
        /// The op and scope.
        what: String,
        /// What contradicts what.
        problem: String,
    },
    /// Two values of one name, or one tensor stored with two types.
    #[error("plan: {0}")]
    Name(String),
    /// The graph stores a tensor that the layout has no place for.
    #[error("plan: the layout has no {home} `{name}`; make it with Layout::of from every graph that is planned")]
    NotInLayout {
        /// The home.
        home: &'static str,
        /// The tensor's name.
        name: String,
    },
}

/// What first axis would fit where the asked-for one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A first axis of at most this fits.
    Batch(usize),
    /// Not even a first axis of 1 fits.
    Nothing,
}

impl Remedy {
    /// The largest first axis that fits, in proportion: `first` takes `bytes`, and `limit` are there.
    pub(super) fn of(first: usize, bytes: usize, limit: usize) -> Self {
        let each = bytes.div_ceil(first.max(1)).max(1);
        match limit / each {
            0 => Self::Nothing,
            fits => Self::Batch(fits.min(first)),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(fits) => write!(f, "a first axis (batch) of at most {fits} fits"),
            Self::Nothing => write!(f, "not even a first axis (batch) of 1 fits"),
        }
    }
}
