//! `kernel!`: a WGSL file's Rust twin, a struct with one named field for each parameter and binding.

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}

/// What a WGSL file says of itself, told by its Rust twin; [`disagreements`](super::disagreements) proves the two equal.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// The file's path under `shaders/` without its ending: `conv2d/forward`.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
    /// Fields of `Params` (binding 0) in order, with their WGSL types.
    pub params: &'static [(&'static str, &'static str)],
    /// Storage bindings from 1 on, in order.
    pub bindings: &'static [(&'static str, Access)],
}

/// Where a binding points, before a plan has given anything a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// An input of the op that records.
    Input(usize),
    /// An output of the op that records. An input that the op updates in place is named through its output.
    Output(usize),
    /// Memory that lives as long as the op runs; see [`Recording::scratch`](super::Recording::scratch).
    Scratch(usize),
}

/// A number that can stand in a kernel's `Params`: 4 bytes, so that Rust and WGSL cannot disagree about layout.
pub trait Param: Copy {
    /// The WGSL type.
    const WGSL: &'static str;
    /// The bits.
    fn word(self) -> u32;
}

impl Param for u32 {
    const WGSL: &'static str = "u32";
    fn word(self) -> u32 {
        self
    }
}

impl Param for i32 {
    const WGSL: &'static str = "i32";
    fn word(self) -> u32 {
        self.cast_unsigned()
    }
}

impl Param for f32 {
    const WGSL: &'static str = "f32";
    fn word(self) -> u32 {
        self.to_bits()
    }
}

/// One call of a kernel, its arguments named. Made by [`kernel!`](crate::kernel!).
pub trait Kernel {
    /// What the WGSL file offers.
    fn interface() -> &'static Interface;
    /// The words of `Params`, in order.
    fn params(&self) -> Vec<u32>;
    /// What each binding points to, in order.
    fn views(&self) -> Vec<View>;
}

/// Declares a kernel: the twin of `shaders/<path>.wgsl` of the calling crate.
///
/// Binding 0 is the uniform `params`, then come the reads, then the writes, numbered in the order written. Leaving an
/// argument out at a call is a compile error; a twin that disagrees with its WGSL fails the test `interfaces`.
#[macro_export]
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident = $path:literal {
            params { $($param:ident: $ty:ty),* $(,)? }
            read { $($read:ident),* $(,)? }
            write { $($write:ident),* $(,)? }
        }
    ) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the fields are the WGSL file's own names")]
        $vis struct $name {
            $(pub $param: $ty,)*
            $(pub $read: $crate::kernel::View,)*
            $(pub $write: $crate::kernel::View,)*
        }

        impl $crate::kernel::Kernel for $name {
            fn interface() -> &'static $crate::kernel::Interface {
                static INTERFACE: $crate::kernel::Interface = $crate::kernel::Interface {
                    name: $path,
                    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path, ".wgsl")),
                    params: &[$((stringify!($param), <$ty as $crate::kernel::Param>::WGSL)),*],
                    bindings: &[
                        $((stringify!($read), $crate::kernel::Access::Read),)*
                        $((stringify!($write), $crate::kernel::Access::Write),)*
                    ],
                };
                &INTERFACE
            }

            fn params(&self) -> Vec<u32> {
                vec![$($crate::kernel::Param::word(self.$param)),*]
            }

            fn views(&self) -> Vec<$crate::kernel::View> {
                vec![$(self.$read,)* $(self.$write),*]
            }
        }
    };
}
