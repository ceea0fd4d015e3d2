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
    /// The file's path under `shaders/` (or the folder named instead) without its ending: `conv2d/forward`.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
    /// Pieces that `// needs` lines may name besides the crate's own; of two of one name, the one here is taken.
    pub pieces: &'static [Piece],
    /// Fields of `Params` (binding 0) in order, with their WGSL types.
    pub params: &'static [(&'static str, &'static str)],
    /// Storage bindings from 1 on, in order.
    pub bindings: &'static [(&'static str, Access)],
}

/// A piece of WGSL that kernels share: its name, and its text.
pub type Piece = (&'static str, &'static str);

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
/// argument out at a call is a compile error; a twin that disagrees with its WGSL fails the test `interfaces`, which
/// other crates have as [`verify::check_interfaces`](crate::verify::check_interfaces).
///
/// | between path and braces | the kernel's text |
/// |---|---|
/// | nothing | `shaders/<path>.wgsl` |
/// | `in "folder"` | `<folder>/<path>.wgsl`, the folder counted from the calling crate's `Cargo.toml` |
/// | `text "…"` | what stands there; the path is only its name |
/// | then, `with PIECES` | may need these [`Piece`](crate::kernel::Piece)s besides the crate's own |
///
/// A function that one kernel alone uses stands in its own file; pieces are for what several share.
///
/// ```
/// use vistok::kernel::{Elem, Kernel, Piece, Variant, compose};
///
/// const PIECES: &[Piece] = &[("triple", "fn triple(x: f32) -> f32 {\n    return 3.0 * x;\n}\n")];
///
/// vistok::kernel! {
///     /// y = 3 x. One lane an element.
///     pub struct Triple = "triple/forward" text r"// y = 3 x
/// // needs elem_f32 | elem_f16
/// // needs triple
/// @group(0) @binding(1) var<storage, read> x: array<elem>;
/// @group(0) @binding(2) var<storage, read_write> y: array<elem>;
/// @compute @workgroup_size(1)
/// fn main(@builtin(workgroup_id) group: vec3<u32>) {
///     y[group.x] = elem(triple(f32(x[group.x])));
/// }
/// " with PIECES {
///         params {}
///         read { x }
///         write { y }
///     }
/// }
///
/// let text = compose(Triple::interface(), &Variant::of(Elem::F16))?;
/// assert!(text.wgsl.contains("return 3.0 * x"));
/// # Ok::<(), vistok::kernel::ComposeError>(())
/// ```
#[macro_export]
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident = $path:literal $(in $folder:literal)? $(text $text:literal)? $(with $pieces:path)? {
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
                    source: $crate::kernel!(@source $path $(in $folder)? $(text $text)?),
                    pieces: $crate::kernel!(@pieces $($pieces)?),
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
    (@source $path:literal) => { $crate::kernel!(@source $path in "shaders") };
    (@source $path:literal in $folder:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $path, ".wgsl"))
    };
    (@source $path:literal text $text:literal) => { $text };
    (@pieces) => { &[] };
    (@pieces $pieces:path) => { $pieces };
}
